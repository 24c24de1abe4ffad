module retort.dev/tests/kubernetes/definitions

go 1.26.0

// Modules of which only files are read: `go mod tidy` would remove them.
require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
