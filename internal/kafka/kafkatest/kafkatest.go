// Package kafkatest gives tests a real Apache Kafka: KRaft nodes on loopback,
// which the tests start, kill and start again as processes of their own.
//
// It needs Java 17 and the jars that internal/tools/kafka/fetch.sh puts
// together; make test-kafka says where they are.
package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"agentmeter/internal/freeaddress"
)

// Variable names the environment variable with the folder of Kafka's jars.
const Variable = "AGENTMETER_KAFKA"

// Config says what to run.
type Config struct {
	Jars  string // folder of Kafka's jars
	Dir   string // for settings, logs and data
	Nodes int    // 0 is one; each is a broker and a controller
	// SignIn, where set, makes clients encrypt and sign in as this user.
	SignIn *User
	// Properties are settings of every node beyond ours.
	Properties map[string]string
}

// User signs in by SCRAM-SHA-512.
type User struct{ Name, Password string }

// Cluster is a set of nodes, none of which runs yet.
type Cluster struct {
	Nodes []Node
	// CA is a file with the authority that the nodes' certificates come from,
	// where clients have to encrypt.
	CA string
}

// Node is a broker.
type Node struct {
	ID      int32
	Address string   // host:port for clients
	Command []string // what runs it, until it is killed
}

// Addresses are where clients find the nodes.
func (c *Cluster) Addresses() []string {
	all := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		all[i] = n.Address
	}
	return all
}

// logging goes to standard output, without the news of each segment.
const logging = `rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c: %m%n
`

// Prepare writes the nodes' settings and formats their storage.
func Prepare(ctx context.Context, config Config) (*Cluster, error) {
	count := max(config.Nodes, 1)
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	// One that nobody else in this process is given, either: a node may be down, or not up yet.
	address := func() string { return freeaddress.Find(mathrand.IntN) }
	cluster := &Cluster{}
	var controllers, voters []string
	for i := range count {
		controllers = append(controllers, address())
		voters = append(voters, fmt.Sprintf("%d@%s:%s", i+1, controllers[i], randomID()))
	}
	if config.SignIn != nil {
		var err error
		if cluster.CA, err = writeCertificates(config.Dir); err != nil {
			return nil, err
		}
	}
	log4j := filepath.Join(config.Dir, "log4j2.properties")
	if err := os.WriteFile(log4j, []byte(logging), 0o600); err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	java := func(class string, args ...string) []string {
		return slices.Concat([]string{
			"java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + log4j,
			"-cp", filepath.Join(config.Jars, "*"), class,
		}, args)
	}
	id := randomID()
	var formats errgroup.Group
	for i := range count {
		node := Node{ID: int32(i + 1), Address: address()}
		home := filepath.Join(config.Dir, fmt.Sprintf("node-%d", node.ID))
		settings := filepath.Join(config.Dir, fmt.Sprintf("node-%d.properties", node.ID))
		content := config.properties(node, home, controllers[i], address(), strings.Join(controllers, ","), count)
		if err := os.WriteFile(settings, []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("kafkatest: %w", err)
		}
		node.Command = java("kafka.Kafka", settings)
		cluster.Nodes = append(cluster.Nodes, node)
		format := java("kafka.tools.StorageTool", "format", "-t", id, "-c", settings, "--initial-controllers", strings.Join(voters, ","))
		if u := config.SignIn; u != nil {
			format = append(format, "--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", u.Name, u.Password))
		}
		formats.Go(func() error {
			cmd := exec.CommandContext(ctx, format[0], format[1:]...) //nolint:gosec // our own command line
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("kafkatest: format node %d: %w: %s", node.ID, err, out)
			}
			return nil
		})
	}
	return cluster, formats.Wait()
}

// properties are a node's settings, as an operator would write them, but for
// what makes a test's cluster start in a second.
func (c Config) properties(node Node, home, controller, internal, controllers string, count int) string {
	replicas, inSync := fmt.Sprint(count), fmt.Sprint(max(count-1, 1))
	protocol := "PLAINTEXT"
	if c.SignIn != nil {
		protocol = "SASL_SSL"
	}
	lines := []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", node.ID),
		"controller.quorum.bootstrap.servers=" + controllers,
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=INTERNAL",
		"listeners=CLIENTS://" + node.Address + ",INTERNAL://" + internal + ",CONTROLLER://" + controller,
		"advertised.listeners=CLIENTS://" + node.Address + ",INTERNAL://" + internal,
		"listener.security.protocol.map=CLIENTS:" + protocol + ",INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + home,
		"auto.create.topics.enable=false",
		"default.replication.factor=" + replicas,
		"min.insync.replicas=" + inSync,
		"offsets.topic.num.partitions=1",
		"offsets.topic.replication.factor=" + replicas,
		"transaction.state.log.num.partitions=1",
		"transaction.state.log.replication.factor=" + replicas,
		"transaction.state.log.min.isr=" + inSync,
		"share.coordinator.state.topic.replication.factor=" + replicas,
		"share.coordinator.state.topic.min.isr=" + inSync,
		"group.initial.rebalance.delay.ms=0",
	}
	if count > 1 { // a dead node's partitions get another leader within seconds
		lines = append(lines, "broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500")
	}
	if c.SignIn != nil {
		lines = append(
			lines,
			"sasl.enabled.mechanisms=SCRAM-SHA-512",
			"listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
			"listener.name.clients.ssl.keystore.type=PEM",
			"listener.name.clients.ssl.keystore.location="+filepath.Join(c.Dir, brokerPEM),
		)
	}
	for key, value := range c.Properties {
		lines = append(lines, key+"="+value)
	}
	return strings.Join(lines, "\n") + "\n"
}

// randomID is an id as Kafka writes them.
func randomID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[0] &= 0x7f           // or it might begin with a dash and be taken for a flag
	return base64.RawURLEncoding.EncodeToString(id[:])
}
