package monitoring

import "strings"

// Board is one dashboard.
type Board struct {
	UID, Title, Description string
	Rows                    []Row
}

// Row is a heading with what stands under it.
type Row struct {
	Title  string
	Panels []Panel
}

// Panel shows the answers to some queries.
type Panel struct {
	Title string
	About string // what to read from it; Grafana shows it behind an i
	Kind  Kind
	Unit  string // one of Grafana's
	// Bad is from where on a Stat is red; 0 for never. Below says that it is red
	// below, and not above.
	Bad     float64
	Below   bool
	Queries []Query
}

// Kind is how a panel shows them.
type Kind string

// The kinds of panels.
const (
	Graph Kind = "timeseries"
	Stat  Kind = "stat"
)

// Query is an expression of PromQL and how its series are called.
type Query struct{ Expr, Legend string }

// Plain is the expression with Grafana's own words replaced, as Prometheus takes it.
func (q Query) Plain() string { return strings.ReplaceAll(q.Expr, "$__rate_interval", "1m") }

func graph(title, unit, about string, queries ...Query) Panel {
	return Panel{Title: title, About: about, Kind: Graph, Unit: unit, Queries: queries}
}

func stat(title, unit, about string, bad float64, query string) Panel {
	return Panel{Title: title, About: about, Kind: Stat, Unit: unit, Bad: bad, Queries: []Query{{query, ""}}}
}

// quantiles are the median and the 99th percentile of a histogram, by further
// labels, which legend names.
func quantiles(histogram, selector, by, legend string) []Query {
	buckets := "sum by (le" + by + ") (rate(" + histogram + "_bucket{" + selector + "}[$__rate_interval]))"
	return []Query{
		{"histogram_quantile(0.5, " + buckets + ")", "p50" + legend},
		{"histogram_quantile(0.99, " + buckets + ")", "p99" + legend},
	}
}

func rate(metric, by, legend string) Query {
	expr := "rate(" + metric + "[$__rate_interval])"
	if by == "" {
		return Query{"sum(" + expr + ")", legend}
	}
	return Query{"sum by (" + by + ") (" + expr + ")", legend}
}

const (
	writes    = `route=~"POST /v1/(events|adjustments)|(PUT|DELETE) /v1/.*"`
	questions = `route=~"GET /(v1|w)/.*"`
	dashboard = `route="GET /v1/usage/dashboard"`
)

// Boards are all dashboards, the overview first.
func Boards() []Board {
	return []Board{overview(), ingest(), rollup(), query(), engines()}
}

func overview() Board {
	return Board{
		UID: "agentmeter-overview", Title: "Agentmeter", Description: "Freshness, throughput, errors and latency, and what is left of what may go wrong.",
		Rows: []Row{
			{"Now", []Panel{
				stat("Figures are behind by", "s", "Everything that was acknowledged before is in the figures. The promise is five seconds.", 5, "agentmeter:counted_through_lag:seconds"),
				stat("Not exact", "none", "Things in which ledger, rollups, ids and Kafka disagree. Anything but 0 is a page.", 1, "sum(agentmeter_audit_findings)"),
				stat("Partitions that stand still", "none", "Halted, since going on would be guessing.", 1, "sum(max by (partition) (agentmeter_rollup_halted))"),
				{
					Title: "Least budget left", About: "Of what may go wrong in 30 days, of the objective that has the least left.", Kind: Stat, Unit: "percentunit", Bad: 0.25, Below: true,
					Queries: []Query{{"min(agentmeter:slo_budget_left:ratio)", ""}},
				},
			}},
			{"Freshness", []Panel{
				graph("Acknowledged until in the figures", "s", "From the broker's storing of a batch to the progress that covers it. The goal is a p99 of 1.5 s.",
					quantiles("agentmeter_rollup_event_visible_duration_seconds", "", "", "")...),
				graph("Behind", "s", "Age of counted_through, and records that are not counted.", Query{"agentmeter:counted_through_lag:seconds", "age"}),
				graph("Records to count", "short", "", Query{"agentmeter:lag:records", "records"}),
			}},
			{"Throughput", []Panel{
				graph("Events a second", "cps", "Accepted by ingest, and counted by rollup. Direct producers are in the latter alone.",
					rate(`agentmeter_ingest_accepted_total{kind=~"event|adjustment"}`, "", "accepted"), rate("agentmeter_rollup_rows_total", "", "counted")),
				graph("Questions a second", "reqps", "", rate("agentmeter_http_requests_total{"+questions+"}", "route", "{{route}}")),
			}},
			{"Errors", []Panel{
				graph("Share of answers that are 5xx", "percentunit", "The promise is one in a thousand.",
					Query{`agentmeter:slo_errors:ratio_5m{slo=~".*_availability"}`, "{{slo}}"}),
				graph("Rejected and undeliverable", "cps", "Items refused by ingest, and records that cannot be counted.",
					rate("agentmeter_ingest_rejected_total", "", "rejected"), rate("agentmeter_rollup_dead_letters_total", "", "dead letters")),
			}},
			{"Latency", []Panel{
				graph("Writes", "s", "Half a second for 99 in 100.", quantiles("agentmeter_http_request_duration_seconds", `route="POST /v1/events"`, "", "")...),
				graph("Dashboards", "s", "Half a second for 99 in 100; the goal is 40 ms.", quantiles("agentmeter_http_request_duration_seconds", dashboard, "", "")...),
			}},
			{"Error budget", []Panel{
				graph("Budget left of 30 days", "percentunit", "Below 0 the promise is broken. Needs 30 days of retention to be exact.", Query{"agentmeter:slo_budget_left:ratio", "{{slo}}"}),
				graph("How fast it burns (1 h)", "short", "1 uses it up in exactly 30 days; a page comes at 14.4.",
					Query{`agentmeter:slo_errors:ratio_1h{slo=~".*_availability"} / 0.001`, "{{slo}}"},
					Query{`agentmeter:slo_errors:ratio_1h{slo!~".*_availability"} / 0.01`, "{{slo}}"}),
				graph("Processes", "none", "By what runs on them.", Query{"count by (version, revision, goversion) (agentmeter_build_info)", "{{version}} {{revision}} {{goversion}}"}),
			}},
		},
	}
}

func ingest() Board {
	return Board{
		UID: "agentmeter-ingest", Title: "Agentmeter: ingest", Description: "What comes in, and how Kafka takes it.",
		Rows: []Row{
			{"Events", []Panel{
				graph("Accepted", "cps", "Acknowledged by Kafka before their request was answered.", rate("agentmeter_ingest_accepted_total", "kind", "{{kind}}")),
				graph("Rejected, by the first fault", "cps", "One code that grows is one client that sends something wrong.", rate("agentmeter_ingest_rejected_total", "code", "{{code}}")),
				graph("Acknowledgement by Kafka", "s", "", quantiles("agentmeter_ingest_acknowledge_duration_seconds", "", "", "")...),
				graph("Bytes in flight", "bytes", "Between a body's arrival and its acknowledgement. Where it stays high, Kafka is slow; at its limit, requests get 429 or 503.",
					Query{"sum by (instance) (agentmeter_ingest_in_flight_bytes)", "{{instance}}"}),
				graph("Waiting for their turn", "none", "Read, and not decoded yet: more comes in than is sent.", Query{"sum by (instance) (agentmeter_ingest_waiting_requests)", "{{instance}}"}),
				graph("Refused", "reqps", "Share: one sender wants more than its share, and the others go on (429). Full: nobody gets any (503).",
					rate("agentmeter_ingest_refused_total", "of, why", "{{of}} {{why}}")),
			}},
			{"Requests", []Panel{
				graph("By status", "reqps", "", rate("agentmeter_http_requests_total{"+writes+"}", "code", "{{code}}")),
				graph("Duration", "s", "", quantiles("agentmeter_http_request_duration_seconds", writes, ", route", " {{route}}")...),
				graph("Being served", "none", "Open live streams of query included.", Query{"sum by (job) (agentmeter_http_requests_in_flight)", "{{job}}"}),
				graph("Problems, by code", "cps", "Of all roles.", rate("agentmeter_http_problems_total", "code", "{{code}}")),
				graph("Limited", "reqps", "Of all roles where it is about addresses.", rate("agentmeter_ingest_rate_limited_total", "", "a key's own limit (429)"),
					rate("agentmeter_http_attempts_limited_total", "", "without a valid token, from one address (429)")),
			}},
			{"What Kafka promised", []Panel{
				graph("Acknowledged offset", "none", "Kafka's log may never end below it.", Query{"max by (partition) (agentmeter_ingest_acknowledged_offset)", "{{partition}}"}),
				graph("Acknowledged again", "none", "Anything but 0 is a page: Kafka's log was cut.", Query{"sum by (instance) (increase(agentmeter_ingest_acknowledged_again_total[1h]))", "{{instance}}"}),
			}},
			kafkaClients("ingest", "produce"),
		},
	}
}

// kafkaClients is what franz-go says of the clients of a role, which produce or
// fetch.
func kafkaClients(role, does string) Row {
	of := func(metric string) string { return "agentmeter_kafka_" + metric + `{role="` + role + `"}` }
	row := Row{"Kafka clients of this role", []Panel{
		graph("Connections", "cps", "", rate(of("connects_total"), "", "opened"), rate(of("disconnects_total"), "", "closed"), rate(of("connect_errors_total"), "node_id", "failed: {{node_id}}")),
		graph("Errors", "cps", "Requests that were not written, or whose answer was not read.", rate(of("write_errors_total"), "node_id", "write: {{node_id}}"), rate(of("read_errors_total"), "node_id", "read: {{node_id}}")),
		graph("On the wire", "Bps", "", rate(of("write_bytes_total"), "", "written"), rate(of("read_bytes_total"), "", "read")),
		graph("Requests, there and back", "s", "Fetches that wait for records included.", quantiles("agentmeter_kafka_request_duration_e2e_seconds", `role="`+role+`"`, "", "")...),
		graph("Throttled", "s", "Time that brokers asked clients to wait, a second: quotas.", rate(of("request_throttled_seconds_sum"), "", "throttled")),
		graph("Records", "cps", "", rate(of(does+"_records_total"), "topic", "{{topic}}")),
		graph("Batches", "cps", "Few records a batch cost much.", rate(of(does+"_batches_total"), "topic", "{{topic}}")),
		graph("Bytes of records", "Bps", "", rate(of(does+"_uncompressed_bytes_total"), "", "as they are"), rate(of(does+"_compressed_bytes_total"), "", "compressed")),
	}}
	if does == "produce" {
		row.Panels = append(row.Panels,
			graph("Records in the producer", "none", "Waiting to be sent or acknowledged.", Query{"sum(" + of("buffered_produce_records_total") + ")", "records"}),
			graph("Bytes in the producer", "bytes", "", Query{"sum(" + of("buffered_produce_bytes") + ")", "bytes"}))
	}
	return row
}

func rollup() Board {
	return Board{
		UID: "agentmeter-rollup", Title: "Agentmeter: rollup", Description: "Counting: how far, how fast, and whether it is exact.",
		Rows: []Row{
			{"Progress", []Panel{
				graph("Counted rows, by outcome", "cps", "Duplicates are events that were sent again.", rate("agentmeter_rollup_rows_total", "outcome", "{{outcome}}")),
				graph("Behind, by process", "s", "", Query{"max by (instance) (agentmeter_rollup_lag_seconds)", "{{instance}}"}),
				graph("Behind, by partition", "s", "As it was last published for readers. The scrape's age is part of it.", Query{"time() - max by (partition) (agentmeter_rollup_counted_through_timestamp_seconds)", "{{partition}}"}),
				graph("Records to count, by partition", "short", "", Query{"max by (partition) (agentmeter_rollup_lag_records)", "{{partition}}"}),
				graph("Partitions", "none", "Those counted have to be all.", Query{"sum by (instance) (agentmeter_rollup_partitions_owned)", "{{instance}}"}, Query{"max(agentmeter_rollup_partitions)", "all"}),
				graph("Halted", "none", "", Query{"max by (partition) (agentmeter_rollup_halted)", "{{partition}}"}),
			}},
			{"Blocks", []Panel{
				graph("Time to append", "s", "Doubts included.", quantiles("agentmeter_rollup_block_duration_seconds", "", "", "")...),
				graph("Rows", "short", "Few rows a block are normal where little comes.", quantiles("agentmeter_rollup_block_rows", "", "", "")...),
				graph("Under way for", "s", "The block that has been tried the longest.", Query{"max by (instance) (agentmeter_rollup_block_age_seconds)", "{{instance}}"}),
				graph("Taking over", "s", "", quantiles("agentmeter_rollup_take_over_duration_seconds", "", "", "")...),
			}},
			{"What went wrong and was settled", []Panel{
				graph("Doubts and starts over", "cps", "Each is settled by what the ledger says.",
					rate("agentmeter_rollup_doubts_total", "", "doubts"), rate("agentmeter_rollup_session_errors_total", "", "interrupted"), rate("agentmeter_rollup_stale_total", "", "another was first")),
				graph("Reconciled", "cps", "Blocks compared with their views, and rows that views had lacked.",
					rate("agentmeter_rollup_reconciles_total", "", "blocks"), rate("agentmeter_rollup_reconciled_rows_total", "", "differences")),
				graph("Set back", "none", "A backup was restored, or a machine lost power.", Query{"sum(increase(agentmeter_rollup_set_backs_total[1h]))", "ledgers"}),
				graph("Dead letters", "cps", "", rate("agentmeter_rollup_dead_letters_total", "code", "{{code}}")),
			}},
			{"Audit", []Panel{
				graph("Findings", "none", "Anything but 0 is a page.", Query{"max by (check) (agentmeter_audit_findings)", "{{check}}"}),
				graph("Since the last verdict", "s", "", Query{"time() - max by (kind, instance) (agentmeter_audit_last_success_timestamp_seconds)", "{{kind}} {{instance}}"}),
				graph("Duration", "s", "", quantiles("agentmeter_audit_duration_seconds", "", ", kind", " {{kind}}")...),
				graph("Audited, against Kafka's log", "none", "Offsets of the log that increments have not reached.", Query{"max by (partition) (agentmeter_audit_log_end_offset) - max by (partition) (agentmeter_audit_position)", "{{partition}}"}),
				graph("Left to the full audit", "cps", "", rate("agentmeter_audit_skipped_rows_total", "", "rows")),
			}},
			{"Ids", []Panel{
				graph("Looked up in ClickHouse", "cps", "Because memory could not tell whether they are new.", rate("agentmeter_rollup_id_lookups_total", "found", "found: {{found}}")),
				graph("Time to look up", "s", "A block's ids at once.", quantiles("agentmeter_rollup_id_lookup_duration_seconds", "", "", "")...),
				graph("Ids in filters", "short", "Past --hot-ids they lose precision, and more is looked up.", Query{"max by (partition) (agentmeter_rollup_id_filter_ids)", "{{partition}}"}),
				graph("Memory of filters", "bytes", "", Query{"sum by (instance) (agentmeter_rollup_id_filter_bytes)", "{{instance}}"}),
				graph("Filters loaded", "none", "0 while one is loaded, and every id is looked up.", Query{"min by (partition) (agentmeter_rollup_id_filter_complete)", "{{partition}}"}),
				graph("Time to load", "s", "", quantiles("agentmeter_rollup_id_filter_load_duration_seconds", "", "", "")...),
				graph("Directory changes", "cps", "", rate("agentmeter_rollup_directory_changes_total", "", "changes")),
			}},
			kafkaClients("rollup", "fetch"),
		},
	}
}

func query() Board {
	return Board{
		UID: "agentmeter-query", Title: "Agentmeter: query", Description: "Questions: how many, how long, and from where they are answered.",
		Rows: []Row{
			{"Questions", []Panel{
				graph("By route and status", "reqps", "", rate("agentmeter_http_requests_total{"+questions+"}", "route, code", "{{route}} {{code}}")),
				graph("Duration, by route", "s", "", quantiles("agentmeter_http_request_duration_seconds", questions+`,route!="GET /v1/usage/live"`, ", route", " {{route}}")...),
				graph("Answers, by completeness", "reqps", "Partial: the range reaches beyond what is counted.", rate("agentmeter_query_answers_total", "completeness", "{{completeness}}")),
				graph("Live streams", "none", "Open pages.", Query{"sum by (instance) (agentmeter_query_live_streams)", "{{instance}}"}),
			}},
			{"Turned away", []Panel{
				graph("Waiting for their turn", "none", "", Query{"sum by (instance) (agentmeter_query_waiting_requests)", "{{instance}}"}),
				graph("Refused", "reqps", "", rate("agentmeter_query_refused_total", "why", "too many at once: {{why}} (429, 503)"), rate("agentmeter_query_rate_limited_total", "", "a workspace's own limit (429)")),
			}},
			{"ClickHouse", []Panel{
				graph("Time by route and finest tier", "s", "What reads the ledger is slow: breakdowns, and minutes of more than a month ago.", quantiles("agentmeter_query_tier_duration_seconds", "", ", route, tier", " {{route}} {{tier}}")...),
				graph("Time by statement", "s", "", quantiles("agentmeter_query_statement_duration_seconds", "", ", statement", " {{statement}}")...),
				graph("Statements", "cps", "", rate("agentmeter_query_statement_duration_seconds_count", "statement", "{{statement}}")),
				graph("Rows answered", "cps", "", rate("agentmeter_query_rows_total", "statement", "{{statement}}")),
				graph("Stretches read, by tier", "cps", "", rate("agentmeter_query_tier_reads_total", "tier", "{{tier}}")),
			}},
			{"Held in memory", []Panel{
				graph("Bars", "percentunit", "Share of bars that did not have to be read.", Query{`sum(rate(agentmeter_query_held_bars_total{from="held"}[$__rate_interval])) / sum(rate(agentmeter_query_held_bars_total[$__rate_interval]))`, "held"}),
				graph("Totals", "percentunit", "Share of workspaces' totals that did not have to be read.", Query{`sum(rate(agentmeter_query_held_totals_total{from="held"}[$__rate_interval])) / sum(rate(agentmeter_query_held_totals_total[$__rate_interval]))`, "held"}),
			}},
		},
	}
}

func engines() Board {
	return Board{
		UID: "agentmeter-engines", Title: "Agentmeter: engine, broker and processes", Description: "The embedded ClickHouse and Kafka of agentmeter run, and what every process needs. A ClickHouse and a Kafka of your own have boards of their own.",
		Rows: []Row{
			{"Embedded engine", []Panel{
				stat("Up", "none", "", 0, "min(agentmeter_engine_up)"),
				graph("Crashes", "none", "", Query{"sum by (instance) (increase(agentmeter_engine_crashes_total[1h]))", "{{instance}}"}),
				graph("Statements, by outcome", "cps", "", rate("agentmeter_engine_statements_total", "kind, outcome", "{{kind}} {{outcome}}")),
				graph("Time, by kind", "s", "Without the wait for a turn.", quantiles("agentmeter_engine_statement_duration_seconds", "", ", kind", " {{kind}}")...),
				graph("Running", "none", "", Query{"sum by (instance) (agentmeter_engine_running_statements)", "{{instance}}"}),
				graph("Refused", "cps", "", rate("agentmeter_engine_refused_total", "reason", "{{reason}}")),
				graph("Inserted", "Bps", "", rate("agentmeter_engine_insert_bytes_total", "", "bytes")),
			}},
			{"Embedded broker", []Panel{
				graph("Batches, by what their timestamps needed", "cps", "", rate("agentmeter_broker_batches_total", "stamp", "{{stamp}}")),
				graph("Connections cut", "cps", "They did not speak the Kafka protocol.", rate("agentmeter_broker_refused_frames_total", "", "connections")),
				graph("Retention", "cps", "", rate("agentmeter_broker_retention_runs_total", "outcome", "{{outcome}}")),
			}},
			{"Disk", []Panel{
				graph("Free", "bytes", "Where the data directory is.", Query{"agentmeter_data_directory_free_bytes", "{{instance}}"}),
				graph("Free share", "percentunit", "", Query{"agentmeter_data_directory_free_bytes / agentmeter_data_directory_size_bytes", "{{instance}}"}),
			}},
			{"Processes", []Panel{
				graph("Answering", "none", "", Query{`up{job=~"agentmeter.*"}`, "{{job}} {{instance}}"}),
				graph("Memory", "bytes", "", Query{`process_resident_memory_bytes{job=~"agentmeter.*"}`, "{{job}} {{instance}}"}),
				graph("Processors", "none", "", Query{`rate(process_cpu_seconds_total{job=~"agentmeter.*"}[$__rate_interval])`, "{{job}} {{instance}}"}),
				graph("Go heap", "bytes", "", Query{`go_memstats_heap_inuse_bytes{job=~"agentmeter.*"}`, "{{job}} {{instance}}"}),
				graph("Goroutines", "none", "", Query{`go_goroutines{job=~"agentmeter.*"}`, "{{job}} {{instance}}"}),
				graph("Open files", "percentunit", "Of those allowed.", Query{`process_open_fds{job=~"agentmeter.*"} / process_max_fds{job=~"agentmeter.*"}`, "{{job}} {{instance}}"}),
			}},
		},
	}
}
