// Package check holds what an operator copies (docker-compose.yml, the Helm chart,
// Prometheus' configuration) to the schemas of those who read it, and to our own
// rules: pinned images, no secrets, no rights that are not needed.
//
// It has tests alone, and a module of its own, so that Compose, Helm and Kubernetes
// add nothing to the program's. make test-deploy runs it.
package check
