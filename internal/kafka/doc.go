// Package kafka is how Agentmeter speaks to Kafka: the topics that it uses and
// how they must be configured, and the options that every client shares.
//
// It promises that no stage runs on a topic whose configuration would make
// counting wrong: EnsureTopics creates what is missing, and CheckTopics
// refuses a topic whose timestamps are the producers' own.
package kafka
