package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const top = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// loadCompose loads docker-compose.yml as docker compose config does: against the
// Compose specification's schema, with the variables that deploy/env.sh writes.
func loadCompose(t *testing.T) (project *types.Project, secrets []string) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), filepath.Join(top, "deploy/env.sh"), dir).CombinedOutput(); err != nil {
		t.Fatalf("deploy/env.sh: %v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "secrets", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("secrets: %v, %v", files, err)
	}
	for _, file := range files {
		secret, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(secret)))
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(top, "docker-compose.yml")},
		cli.WithWorkingDirectory(top), cli.WithEnvFiles(filepath.Join(dir, ".env")), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	if project, err = options.LoadProject(t.Context()); err != nil {
		t.Fatal(err)
	}
	return project, secrets
}

func TestComposeFileIsOneAndIsConfined(t *testing.T) {
	project, secrets := loadCompose(t)
	roles := []string{"migrate", "ingest", "rollup", "query", "cli"}
	for _, name := range append(roles, "kafka", "clickhouse", "prometheus", "alertmanager", "grafana") {
		if _, ok := project.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, service := range project.Services {
		once := name == "migrate" || name == "cli"
		ours := slices.Contains(roles, name)
		if _, tag, ok := strings.Cut(service.Image, ":"); !ok || tag == "latest" || tag == "" {
			t.Errorf("%s: image %q is not pinned to a version", name, service.Image)
		}
		if service.Privileged || !slices.Equal(service.CapDrop, []string{"ALL"}) || len(service.CapAdd) > 0 {
			t.Errorf("%s: has capabilities", name)
		}
		if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: may gain privileges", name)
		}
		if ours && (!service.ReadOnly || service.User == "" || strings.HasPrefix(service.User, "0")) {
			t.Errorf("%s: runs as %q, read-only %v", name, service.User, service.ReadOnly)
		}
		if once == (service.HealthCheck != nil) {
			t.Errorf("%s: health check %v", name, service.HealthCheck)
		}
		limits := service.Deploy
		if limits == nil || limits.Resources.Limits == nil || limits.Resources.Limits.MemoryBytes == 0 || limits.Resources.Limits.NanoCPUs == 0 || limits.Resources.Limits.Pids == 0 {
			t.Errorf("%s: has no limits", name)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: publishes %s beyond loopback (%q)", name, port.Published, port.HostIP)
			}
		}
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil || !volume.ReadOnly {
				t.Errorf("%s: mounts %s: read-only %v, %v", name, volume.Source, volume.ReadOnly, err)
			}
		}
		said := strings.Join(service.Command, " ")
		for variable, value := range service.Environment {
			if value != nil {
				said += " " + *value
			}
			if regexp.MustCompile(`(?i)PASSWORD$|SECRET$|TOKEN$`).MatchString(variable) {
				t.Errorf("%s: %s is no way to give a secret", name, variable)
			}
		}
		for _, secret := range secrets {
			if strings.Contains(said, secret) {
				t.Errorf("%s: a secret is in its environment or on its command line", name)
			}
		}
	}
	for _, name := range []string{"kafka", "clickhouse", "rollup"} {
		networks := project.Services[name].Networks
		if len(networks) != 1 || !project.Networks["inside"].Internal {
			t.Errorf("%s: is on %v, not on the inner network alone", name, networks)
		}
	}
}

func TestComposeFileRunsTheEnginesThatTestsRun(t *testing.T) {
	project, _ := loadCompose(t)
	for service, pinned := range map[string]struct{ image, file, version string }{
		"clickhouse": {"clickhouse/clickhouse-server", "internal/embedded/chdb/chdb.go", `ServerImageTag = "([^"]+)"`},
		"kafka":      {"apache/kafka", "internal/tools/kafka/pom.xml", `(?s)<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)</version>`},
	} {
		version := regexp.MustCompile(pinned.version).FindStringSubmatch(read(t, pinned.file))
		if version == nil {
			t.Fatalf("%s names no version of %s", pinned.file, service)
		}
		if want := pinned.image + ":" + version[1]; project.Services[service].Image != want {
			t.Errorf("%s is %s, and tests run %s", service, project.Services[service].Image, want)
		}
	}
}

// ruleFiles are the files of rules, in order.
func ruleFiles(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, "deploy/prometheus/alerts/*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("rules: %v, %v", files, err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.yml") {
			names = append(names, filepath.Base(file))
		}
	}
	return names
}

// The system logs of a packaged ClickHouse fill the disk.
func TestClickHouseKeepsNoLogForEver(t *testing.T) {
	config := read(t, "deploy/clickhouse/config.d/agentmeter.xml")
	// Those of the packaged config.xml of the release line.
	for _, log := range []string{
		"query_log", "query_thread_log", "query_views_log", "query_metric_log", "part_log", "trace_log", "text_log", "metric_log", "latency_log",
		"error_log", "asynchronous_metric_log", "asynchronous_insert_log", "session_log", "processors_profile_log",
		"opentelemetry_span_log", "blob_storage_log", "backup_log",
	} {
		bounded := regexp.MustCompile(`<` + log + `>\s*<ttl>event_date \+ INTERVAL \d+ DAY DELETE</ttl>\s*</` + log + `>`)
		if !bounded.MatchString(config) && !strings.Contains(config, `<`+log+` remove="remove"/>`) {
			t.Errorf("system.%s is neither bounded nor off", log)
		}
	}
}
