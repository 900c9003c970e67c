// Package arch holds the import rules of the whole module, as a test: which
// package may import which, and why. A package that is not in the table, or an
// import that its line does not allow, fails.
package arch
