//go:build !race

package rollup

const raceDetector = false
