package crash

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build makes the test build of agentmeter, which obeys fault plans, and
// returns its path. The Go tool's cache makes a second build quick.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "agentmeter")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", binary, "agentmeter/cmd/agentmeter") //nolint:gosec // our own package
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build agentmeter with faults: %w", err)
	}
	return binary, nil
}
