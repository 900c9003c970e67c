package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agentmeter/internal/kafka/kafkatest"
)

// The pipeline on Apache Kafka, which wants everybody to encrypt and to sign in.
func TestStagesCountOnARealKafkaThatWantsASignIn(t *testing.T) {
	jars := os.Getenv(kafkatest.Variable)
	if jars == "" {
		t.Skip("SKIPPED: it takes a real Apache Kafka (make test-kafka)")
	}
	dir := t.TempDir()
	user := kafkatest.User{Name: "agentmeter", Password: "c5e1f8a2"}
	cluster, err := kafkatest.Prepare(t.Context(), kafkatest.Config{Jars: jars, Dir: filepath.Join(dir, "apache"), SignIn: &user})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range cluster.Nodes {
		startCommand(t, exec.Command(node.Command[0], node.Command[1:]...)).waitFor("to listen", startPatience, func() error {
			connection, err := net.Dial("tcp", node.Address)
			if err != nil {
				return err
			}
			return connection.Close()
		})
	}
	passwordFile := filepath.Join(dir, "kafka.password")
	if err := os.WriteFile(passwordFile, []byte(user.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{
		"--kafka", strings.Join(cluster.Addresses(), ","), "--kafka-tls", "--kafka-ca", cluster.CA,
		"--kafka-sasl", "SCRAM-SHA-512", "--kafka-user", user.Name, "--kafka-password-file", passwordFile,
	}
	threeStagesCountTheSame(t, dir, flags...)

	// Who does not sign in, or not as himself, or does not know the authority,
	// gets nothing, and no error says the password.
	wrongFile := filepath.Join(dir, "wrong.password")
	if err := os.WriteFile(wrongFile, []byte("not-the-password"), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced := func(from, to string) []string {
		changed := append([]string{"migrate", "--clickhouse", "http://127.0.0.1:1"}, flags...)
		for i, flag := range changed {
			if flag == from {
				changed[i] = to
			}
		}
		return changed
	}
	for what, args := range map[string][]string{
		"a wrong password":         replaced(passwordFile, wrongFile),
		"an unknown user":          replaced(user.Name, "somebody"),
		"another mechanism":        replaced("SCRAM-SHA-512", "SCRAM-SHA-256"),
		"no sign-in":               {"migrate", "--clickhouse", "http://127.0.0.1:1", "--kafka", cluster.Nodes[0].Address, "--kafka-tls", "--kafka-ca", cluster.CA},
		"no encryption":            {"migrate", "--clickhouse", "http://127.0.0.1:1", "--kafka", cluster.Nodes[0].Address},
		"the system's authorities": {"migrate", "--clickhouse", "http://127.0.0.1:1", "--kafka", cluster.Nodes[0].Address, "--kafka-tls"},
	} {
		code, stdout, stderr := agentmeter(t, args...)
		if code == 0 || strings.Contains(stderr, "127.0.0.1:1:") {
			t.Errorf("%s: exit status %d, and it got past Kafka: %s", what, code, stderr)
		}
		for _, secret := range []string{user.Password, "not-the-password"} {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("%s: the password is printed: %s%s", what, stdout, stderr)
			}
		}
		t.Logf("%s: %.300s", what, stderr)
	}
}
