package check

import (
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/yannh/kubeconform/pkg/validator"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = top + "/deploy/kubernetes/agentmeter"

// kubernetes are the versions that the chart is held to: the oldest that
// Chart.yaml admits, and the newest that has schemas.
var kubernetes = []string{"1.30.0", "1.37.0"}

// valuesFiles are the chart's ways to be installed.
var valuesFiles = []string{"minimal", "everything", "paused", "tools"}

func readValues(t *testing.T, name string) map[string]any {
	t.Helper()
	values, err := chartutil.ReadValuesFile(filepath.Join(chartDir, "ci", name+"-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// render is helm template: it checks the values against the chart's schema and
// returns the documents by kind and name.
func render(values map[string]any, version string) (map[string]string, error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v" + version, Major: "1", Minor: strings.Split(version, ".")[1]}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "prod", Namespace: "metering", IsInstall: true, Revision: 1}, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	documents := make(map[string]string)
	for file, content := range files {
		if filepath.Ext(file) != ".yaml" {
			continue
		}
		for _, document := range regexp.MustCompile(`(?m)^---\s*$`).Split(content, -1) {
			if strings.TrimSpace(document) == "" {
				continue
			}
			var is struct {
				Kind     string
				Metadata struct{ Name, Namespace string }
			}
			if err := yaml.Unmarshal([]byte(document), &is); err != nil {
				return nil, err
			}
			documents[is.Kind+"/"+is.Metadata.Name] = document
		}
	}
	return documents, nil
}

func mustRender(t *testing.T, values string) map[string]string {
	t.Helper()
	documents, err := render(readValues(t, values), kubernetes[len(kubernetes)-1])
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

func TestChartPassesHelmLint(t *testing.T) {
	for _, name := range valuesFiles {
		for _, version := range kubernetes {
			kube, err := chartutil.ParseKubeVersion(version)
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range lint.AllWithKubeVersion(chartDir, readValues(t, name), "metering", kube).Messages {
				if message.Severity > support.InfoSev {
					t.Errorf("%s on %s: %s", name, version, message)
				}
			}
		}
	}
}

func TestChartRendersWhatKubernetesTakes(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "./schemas.sh").Output()
	if err != nil {
		t.Fatalf("fetch Kubernetes' schemas: %v", err)
	}
	location := strings.TrimSpace(string(out)) + "/{{ .NormalizedKubernetesVersion }}-local{{ .StrictSuffix }}/{{ .ResourceKind }}{{ .KindSuffix }}.json"
	for _, version := range kubernetes {
		check, err := validator.New([]string{location}, validator.Opts{
			Strict: true, KubernetesVersion: version,
			// Custom resources: their own test decodes them into their types.
			SkipKinds: map[string]struct{}{"ServiceMonitor": {}, "PrometheusRule": {}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, values := range valuesFiles {
			documents, err := render(readValues(t, values), version)
			if err != nil {
				t.Fatal(err)
			}
			for name, document := range documents {
				for _, result := range check.Validate(name, io.NopCloser(strings.NewReader(document))) {
					if result.Status != validator.Valid && result.Status != validator.Skipped {
						t.Errorf("%s, %s on %s: %v %v\n%s", values, name, version, result.Err, result.ValidationErrors, document)
					}
				}
			}
		}
		// The check itself finds what is wrong.
		broken := strings.Replace(mustRender(t, "minimal")["Deployment/prod-agentmeter-ingest"], "readOnlyRootFilesystem", "readOnlyRoot", 1)
		for _, result := range check.Validate("broken", io.NopCloser(strings.NewReader(broken))) {
			if result.Status == validator.Valid {
				t.Error("a field that Kubernetes does not know passes")
			}
		}
	}
}

func strictly(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
}

func TestChartsRulesAreTheRuleFiles(t *testing.T) {
	documents := mustRender(t, "everything")
	for _, name := range ruleFiles(t) {
		var rule monitoring.PrometheusRule
		strictly(t, documents["PrometheusRule/prod-agentmeter-"+strings.TrimSuffix(name, ".yml")], &rule)
		var want monitoring.PrometheusRuleSpec
		strictly(t, read(t, "deploy/prometheus/alerts/"+name), &want)
		if len(want.Groups) == 0 || !reflect.DeepEqual(rule.Spec, want) {
			t.Errorf("%s: the chart's rules are not the file's", name)
		}
	}
	for _, role := range []string{"ingest", "rollup", "query"} {
		var monitor monitoring.ServiceMonitor
		strictly(t, documents["ServiceMonitor/prod-agentmeter-"+role], &monitor)
		var service corev1.Service
		strictly(t, documents["Service/prod-agentmeter-"+role], &service)
		for label, value := range monitor.Spec.Selector.MatchLabels {
			if service.Labels[label] != value {
				t.Errorf("%s: the monitor asks for %s=%s, and the service has %q", role, label, value, service.Labels[label])
			}
		}
		if relabelled := monitor.Spec.Endpoints[0].RelabelConfigs; len(relabelled) != 1 || relabelled[0].TargetLabel != "job" || *relabelled[0].Replacement != "agentmeter-"+role {
			t.Errorf("%s: the job is not named as prometheus.yml names it: %+v", role, relabelled)
		}
		if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == monitor.Spec.Endpoints[0].Port }) {
			t.Errorf("%s: the service has no port %s", role, monitor.Spec.Endpoints[0].Port)
		}
	}
	if got := slices.Sorted(maps.Keys(mustRender(t, "minimal"))); slices.ContainsFunc(got, func(name string) bool {
		return strings.HasPrefix(name, "ServiceMonitor/") || strings.HasPrefix(name, "PrometheusRule/")
	}) {
		t.Errorf("without the Prometheus operator there are %v", got)
	}
}

func TestChartsPodsAreConfinedAndHoldNoSecret(t *testing.T) {
	for _, values := range valuesFiles {
		for name, document := range mustRender(t, values) {
			var pod corev1.PodTemplateSpec
			switch kind, _, _ := strings.Cut(name, "/"); kind {
			case "Deployment":
				var deployment appsv1.Deployment
				strictly(t, document, &deployment)
				pod = deployment.Spec.Template
				for label, value := range deployment.Spec.Selector.MatchLabels {
					if pod.Labels[label] != value {
						t.Errorf("%s: selects %s=%s, its pods have %q", name, label, value, pod.Labels[label])
					}
				}
				c := pod.Spec.Containers[0]
				if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil {
					t.Errorf("%s: lacks a probe", name)
				}
			case "Job":
				var job batchv1.Job
				strictly(t, document, &job)
				pod = job.Spec.Template
				if hook := job.Annotations["helm.sh/hook"]; hook != "pre-install,pre-upgrade" && !strings.Contains(name, "-tools-") {
					t.Errorf("%s: hook %q", name, hook)
				}
			case "Secret":
				t.Errorf("%s: the chart makes a secret", name)
				continue
			default:
				continue
			}
			checkPod(t, name, pod.Spec)
		}
	}
}

func checkPod(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	if !is(pod.AutomountServiceAccountToken, false) || pod.SecurityContext == nil || !is(pod.SecurityContext.RunAsNonRoot, true) ||
		pod.SecurityContext.SeccompProfile == nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: the pod is not confined: %+v", name, pod.SecurityContext)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if s == nil || !is(s.ReadOnlyRootFilesystem, true) || !is(s.AllowPrivilegeEscalation, false) || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: the container is not confined: %+v", name, s)
		}
		if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: no resources", name)
		}
		seen := make(map[string]bool)
		for _, e := range c.Env {
			if seen[e.Name] {
				t.Errorf("%s: %s is there twice", name, e.Name)
			}
			seen[e.Name] = true
		}
	}
}

// Every variable of the templates is a flag's twin: Kubernetes would not say that
// nobody reads it.
func TestChartAndComposeFileNameVariablesThatThereAre(t *testing.T) {
	var sources bytes.Buffer
	files, err := filepath.Glob(filepath.Join(top, "cmd/agentmeter/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(content)
	}
	// Flags are fields: HTTPListen or HttpListen is --http-listen.
	fields := make(map[string]bool)
	for _, field := range regexp.MustCompile(`(?m)^\t([A-Z]\w+) +[\w.\[\]]+ +`+"`"+`.*help:`).FindAllSubmatch(sources.Bytes(), -1) {
		fields[strings.ToUpper(string(field[1]))] = true
	}
	for file, said := range map[string]string{
		"the chart": read(t, "deploy/kubernetes/agentmeter/templates/_helpers.tpl"), "docker-compose.yml": read(t, "docker-compose.yml"),
	} {
		found := regexp.MustCompile(`(?:name: |^ +)(AGENTMETER_\w+)[,:]`).FindAllStringSubmatch(said, -1)
		found = append(found, regexp.MustCompile(`(?m)^ +(AGENTMETER_\w+):`).FindAllStringSubmatch(said, -1)...)
		if len(found) < 8 {
			t.Errorf("%s: found %d variables only", file, len(found))
		}
		for _, variable := range found {
			if !fields[strings.ReplaceAll(strings.TrimPrefix(variable[1], "AGENTMETER_"), "_", "")] {
				t.Errorf("%s: %s is no flag's twin", file, variable[1])
			}
		}
	}
}

func TestChartScalesWithinThePartitionsAndStandsStillWhenPaused(t *testing.T) {
	var scaler autoscalingv2.HorizontalPodAutoscaler
	strictly(t, mustRender(t, "everything")["HorizontalPodAutoscaler/prod-agentmeter-rollup"], &scaler)
	if scaler.Spec.MaxReplicas != 12 {
		t.Errorf("at most %d rollups for 12 partitions", scaler.Spec.MaxReplicas)
	}
	paused := mustRender(t, "paused")
	var rollup appsv1.Deployment
	strictly(t, paused["Deployment/prod-agentmeter-rollup"], &rollup)
	if rollup.Spec.Replicas == nil || *rollup.Spec.Replicas != 0 || paused["HorizontalPodAutoscaler/prod-agentmeter-rollup"] != "" || paused["Job/prod-agentmeter-migrate"] != "" {
		t.Error("a paused rollup has replicas, an autoscaler, or migrations that run beside it")
	}
}

// A command as a job has what its ClickHouse user needs, and nothing that signs
// tokens; without a command there is none.
func TestChartRendersACommandAsAJob(t *testing.T) {
	tools := func(values string) (jobs []string) {
		for name, document := range mustRender(t, values) {
			if strings.HasPrefix(name, "Job/prod-agentmeter-tools-") {
				jobs = append(jobs, document)
			}
		}
		return jobs
	}
	if jobs := tools("minimal"); len(jobs) > 0 {
		t.Errorf("a job that nobody asked for:\n%s", jobs[0])
	}
	jobs := tools("tools")
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	var job batchv1.Job
	strictly(t, jobs[0], &job)
	pod := job.Spec.Template.Spec
	if got, want := pod.Containers[0].Args, []string{"erase", "--workspace", "ws_acme", "--yes"}; !slices.Equal(got, want) {
		t.Errorf("runs %q, want %q", got, want)
	}
	if job.Spec.BackoffLimit == nil || *job.Spec.BackoffLimit != 0 || pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("a command that failed is tried again by itself")
	}
	if got := pod.Volumes[0].Secret.Items; len(got) != 1 || got[0].Key != "clickhouse-migrator" {
		t.Errorf("it is given %v", got)
	}
	for _, e := range pod.Containers[0].Env {
		if e.Name == "AGENTMETER_CLICKHOUSE_USER" && e.Value != "agentmeter_migrator" {
			t.Errorf("it signs in as %s", e.Value)
		}
	}
}

// A policy admits what the addresses say, so that a port is written once; and
// the job that comes before an upgrade goes by the policy of its own version.
func TestChartsPoliciesAdmitWhatTheAddressesSay(t *testing.T) {
	for _, c := range []struct {
		values, role string
		want         []int // beside DNS
	}{
		{"minimal", "ingest", []int{9092}},
		{"minimal", "rollup", []int{9092, 8123}},
		{"minimal", "query", []int{8123}},
		{"everything", "migrate", []int{9093, 9094, 8443}},
		{"everything", "tools", []int{9093, 9094, 8443}},
		{"everything", "query", []int{8443, 4318, 8444}},
	} {
		var policy networkingv1.NetworkPolicy
		strictly(t, mustRender(t, c.values)["NetworkPolicy/prod-agentmeter-"+c.role], &policy)
		var got []int
		for _, rule := range policy.Spec.Egress {
			for _, port := range rule.Ports {
				if port.Port.IntValue() != 53 {
					got = append(got, port.Port.IntValue())
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: egress to %v, want %v", c.values, c.role, got, c.want)
		}
		if hook := policy.Annotations["helm.sh/hook"] != ""; hook != (c.role == "migrate") {
			t.Errorf("%s, %s: is the policy a hook? %v", c.values, c.role, hook)
		}
	}
}

func TestChartRefusesValuesThatCannotWork(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"no brokers":             func(v map[string]any) { delete(v, "kafka") },
		"no ClickHouse":          func(v map[string]any) { delete(v, "clickhouse") },
		"a password in the URL":  func(v map[string]any) { v["clickhouse"] = map[string]any{"url": "http://u:p@clickhouse:8123"} },
		"an unknown value":       func(v map[string]any) { v["replicas"] = 3 },
		"a misspelt inner value": func(v map[string]any) { v["rollup"] = map[string]any{"replica": 3} },
		"no partitions":          func(v map[string]any) { v["topics"] = map[string]any{"partitions": 0} },
		"scraped, and nobody may": func(v map[string]any) {
			v["monitoring"] = map[string]any{"serviceMonitor": map[string]any{"enabled": true}}
		},
		"an ingress without host": func(v map[string]any) {
			v["query"] = map[string]any{"ingress": map[string]any{"enabled": true}}
		},
	} {
		values := readValues(t, "minimal")
		change(values)
		if _, err := render(values, kubernetes[0]); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
