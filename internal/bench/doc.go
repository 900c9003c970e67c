// Command bench runs the benches that have a goal and says whether it is met.
//
// In: the Go benchmarks of its suites, run with go test in one go, each beside
// the reference that it is compared with. Out: a table on stdout and a JSON
// file of the same figures; what the benchmarks print goes to stderr. Exit
// status 0 means that they all ran, whether or not they meet their goals; 1
// that one did not run or did not report what is asked of it; 2 misuse.
//
// A figure is a ratio of two measurements of the same run wherever there is
// one to take, since absolute times say more about the machine.
package main
