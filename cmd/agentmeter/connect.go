package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
)

// kafkaFlags say where Kafka is.
type kafkaFlags struct {
	Kafka []string `help:"Kafka brokers, host:port each, separated by commas." default:"127.0.0.1:9092" placeholder:"HOST:PORT"`
	kafkaSecurityFlags
}

func (f kafkaFlags) check() error {
	_, err := f.config("")
	return err
}

func (f kafkaFlags) config(role string) (kafka.Config, error) { return f.to(f.Kafka, role) }

// kafkaSecurityFlags say how connections to Kafka are protected.
type kafkaSecurityFlags struct {
	KafkaTLS          bool   `name:"kafka-tls" help:"Encrypt connections to Kafka."`
	KafkaCA           string `name:"kafka-ca" help:"File with the certificates of the authorities that Kafka's certificates come from. Empty: the system's." type:"path" placeholder:"FILE"`
	KafkaCert         string `name:"kafka-cert" help:"File with the certificate that Kafka knows us by, where it asks for one." type:"path" placeholder:"FILE"`
	KafkaKey          string `name:"kafka-key" help:"File with the key of that certificate." type:"path" placeholder:"FILE"`
	KafkaSASL         string `name:"kafka-sasl" help:"How to sign in to Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Empty: not at all." enum:",PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" default:""`
	KafkaUser         string `help:"User to sign in to Kafka as." placeholder:"NAME"`
	KafkaPasswordFile string `help:"File that holds that user's password." type:"path" placeholder:"FILE"`
}

// to describes how a role reaches the brokers.
func (f kafkaSecurityFlags) to(brokers []string, role string) (kafka.Config, error) {
	config := kafka.Config{Brokers: brokers, ClientID: "agentmeter-" + role}
	var err error
	switch {
	case f.KafkaTLS:
		if config.TLS, err = clientTLS("kafka", f.KafkaCA, f.KafkaCert, f.KafkaKey); err != nil {
			return kafka.Config{}, err
		}
	case f.KafkaCA != "" || f.KafkaCert != "" || f.KafkaKey != "":
		return kafka.Config{}, misuse("--kafka-ca, --kafka-cert and --kafka-key are about encrypted connections; give --kafka-tls, too")
	}
	if f.KafkaSASL == "" {
		if f.KafkaUser != "" || f.KafkaPasswordFile != "" {
			return kafka.Config{}, misuse("--kafka-user and --kafka-password-file are for signing in; say how by --kafka-sasl")
		}
		return config, valid(config)
	}
	if f.KafkaUser == "" || f.KafkaPasswordFile == "" {
		return kafka.Config{}, misuse("--kafka-sasl needs --kafka-user and --kafka-password-file")
	}
	password, err := readSecret(f.KafkaPasswordFile)
	if err == nil && password == "" {
		err = fmt.Errorf("%s is empty", f.KafkaPasswordFile)
	}
	if err != nil {
		return kafka.Config{}, misuse("--kafka-password-file: %w", err)
	}
	config.SASL = kafka.SASL{Mechanism: f.KafkaSASL, User: f.KafkaUser, Password: password}
	return config, valid(config)
}

// valid refuses what cannot work.
func valid(config interface{ Validate() error }) error {
	if err := config.Validate(); err != nil {
		return misuse("%w", err)
	}
	return nil
}

// clickhouseFlags say where ClickHouse is.
type clickhouseFlags struct {
	Clickhouse string `help:"ClickHouse's HTTP address; with https:// connections are encrypted." default:"http://127.0.0.1:8123" placeholder:"URL"`
	clickhouseAccessFlags
}

func (f clickhouseFlags) check() error {
	_, err := f.config()
	return err
}

func (f clickhouseFlags) config() (clickhouse.Config, error) { return f.to(f.Clickhouse) }

// clickhouseAccessFlags say as whom ClickHouse is asked, and in which database.
type clickhouseAccessFlags struct {
	ClickhouseDatabase     string `help:"Database that holds Agentmeter's tables." default:"agentmeter"`
	ClickhouseUser         string `help:"ClickHouse user." default:"default"`
	ClickhousePasswordFile string `help:"File that holds the ClickHouse password. Empty: no password." type:"path" placeholder:"FILE"`
	clickhouseClusterFlags
	ClickhouseCA string `name:"clickhouse-ca" help:"File with the certificates of the authorities that ClickHouse's certificate comes from. Empty: the system's." type:"path" placeholder:"FILE"`
}

// clickhouseClusterFlags say which cluster the tables are on, if they are on one.
type clickhouseClusterFlags struct {
	ClickhouseCluster string   `help:"ClickHouse cluster that the tables are on, as its configuration names it. Empty: they are on one server." placeholder:"NAME"`
	ClickhouseShards  []string `help:"HTTP addresses of the servers of a cluster that are written to: one of each shard. Empty: there is one shard, and it is --clickhouse." placeholder:"URL"`
}

// to describes how ClickHouse is reached at an address.
func (f clickhouseAccessFlags) to(url string) (clickhouse.Config, error) {
	password, err := readSecret(f.ClickhousePasswordFile)
	if err != nil {
		return clickhouse.Config{}, misuse("--clickhouse-password-file: %w", err)
	}
	config := clickhouse.Config{
		URL: url, Database: f.ClickhouseDatabase, User: f.ClickhouseUser, Password: password,
		Cluster: f.ClickhouseCluster, Shards: f.ClickhouseShards,
	}
	if slices.ContainsFunc(append([]string{url}, f.ClickhouseShards...), func(url string) bool { return strings.HasPrefix(url, "https:") }) {
		if config.TLS, err = clientTLS("clickhouse", f.ClickhouseCA, "", ""); err != nil {
			return clickhouse.Config{}, err
		}
	} else if f.ClickhouseCA != "" {
		return clickhouse.Config{}, misuse("--clickhouse-ca is about encrypted connections; give an https:// address by --clickhouse, too")
	}
	return config, valid(config)
}

// readSecret reads a secret from a file, without the line end that editors
// add. An empty name is an empty secret.
func readSecret(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// clientTLS says whom to trust, and who we are where cert and key are given,
// which are read for each connection: a renewed certificate needs no restart.
func clientTLS(to, ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		content, err := os.ReadFile(ca)
		if err != nil {
			return nil, misuse("--%s-ca: %w", to, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, misuse("--%s-ca: %s holds no certificate; it wants PEM", to, ca)
		}
	}
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, misuse("--%s-cert and --%s-key go together", to, to)
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate of --%s-cert: %w", to, err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, misuse("%w", err)
	}
	config.GetClientCertificate = load
	return config, nil
}
