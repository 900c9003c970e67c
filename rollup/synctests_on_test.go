//go:build synctests

package rollup

const synctestsTag = true
