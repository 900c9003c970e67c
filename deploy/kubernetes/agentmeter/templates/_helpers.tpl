{{/* The release's own name, within what a label may hold. */}}
{{- define "agentmeter.name" -}}
{{- if contains "agentmeter" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-agentmeter" (.Release.Name | trunc 39 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "agentmeter.selector" -}}
app.kubernetes.io/name: agentmeter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "agentmeter.labels" -}}
{{ include "agentmeter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "agentmeter.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "agentmeter.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "agentmeter.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What a role asks of Kafka and ClickHouse: dict "root" $ "role" "ingest". */}}
{{- define "agentmeter.environment" -}}
{{- $v := .root.Values }}
{{- $user := get (dict "migrate" "migrator" "rollup" "writer" "query" "reader" "tools" .root.Values.tools.user) .role }}
- {name: AGENTMETER_LOG_LEVEL, value: {{ $v.log.level | quote }}}
- {name: AGENTMETER_LOG_FORMAT, value: {{ $v.log.format | quote }}}
{{- if ne .role "query" }}
- {name: AGENTMETER_KAFKA, value: {{ join "," $v.kafka.brokers | quote }}}
{{- end }}
{{- if $user }}
- {name: AGENTMETER_CLICKHOUSE, value: {{ $v.clickhouse.url | quote }}}
{{- with $v.clickhouse.cluster }}
- {name: AGENTMETER_CLICKHOUSE_CLUSTER, value: {{ . | quote }}}
{{- end }}
{{- with $v.clickhouse.shards }}
- {name: AGENTMETER_CLICKHOUSE_SHARDS, value: {{ join "," . | quote }}}
{{- end }}
- {name: AGENTMETER_CLICKHOUSE_DATABASE, value: {{ $v.clickhouse.database | quote }}}
- {name: AGENTMETER_CLICKHOUSE_USER, value: {{ get $v.clickhouse.users $user | quote }}}
- {name: AGENTMETER_CLICKHOUSE_PASSWORD_FILE, value: /run/secrets/agentmeter/clickhouse}
{{- end }}
{{- if eq .role "migrate" }}
- {name: AGENTMETER_EVENT_PARTITIONS, value: {{ $v.topics.partitions | quote }}}
- {name: AGENTMETER_REPLICATION, value: {{ $v.topics.replication | quote }}}
- {name: AGENTMETER_MIN_INSYNC_REPLICAS, value: {{ $v.topics.minInsyncReplicas | quote }}}
- {name: AGENTMETER_EVENT_RETENTION, value: {{ $v.topics.retention | quote }}}
{{- else if ne .role "tools" }}
- {name: AGENTMETER_HTTP_LISTEN, value: ":8080"}
- {name: AGENTMETER_METRICS_LISTEN, value: ":9464"}
- {name: AGENTMETER_TOKEN_KEY_FILE, value: /run/secrets/agentmeter/access.key}
{{- with $v.tracing.endpoint }}
- {name: AGENTMETER_TRACE_ENDPOINT, value: {{ . | quote }}}
- {name: AGENTMETER_TRACE_SAMPLE, value: {{ $v.tracing.sample | quote }}}
{{- end }}
{{- if ne .role "rollup" }}
# A load balancer takes a moment to look away.
- {name: AGENTMETER_DRAIN_DELAY, value: 10s}
{{- with $v.jwks.url }}
- {name: AGENTMETER_JWKS_URL, value: {{ . | quote }}}
- {name: AGENTMETER_JWKS_ISSUER, value: {{ $v.jwks.issuer | quote }}}
- {name: AGENTMETER_JWKS_AUDIENCE, value: {{ $v.jwks.audience | quote }}}
{{- end }}
{{- end }}
{{- if eq .role "query" }}
{{- with $v.pageURL }}
- {name: AGENTMETER_PAGE_URL, value: {{ . | quote }}}
{{- end }}
{{- with $v.pageEmbed }}
- {name: AGENTMETER_PAGE_EMBED, value: {{ join "," . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The keys of the Secret that a role needs, and no others. */}}
{{- define "agentmeter.volumes" -}}
{{- $user := get (dict "migrate" "migrator" "rollup" "writer" "query" "reader" "tools" .root.Values.tools.user) .role }}
- name: secrets
  secret:
    secretName: {{ .root.Values.existingSecret }}
    # The owner's group alone: a key that everyone may read is refused.
    defaultMode: 0440
    items:
      {{- if not (has .role (list "migrate" "tools")) }}
      - {key: access.key, path: access.key}
      {{- end }}
      {{- if $user }}
      - {key: clickhouse-{{ $user }}, path: clickhouse}
      {{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "agentmeter.volumeMounts" -}}
- {name: secrets, mountPath: /run/secrets/agentmeter, readOnly: true}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The port of a URL, by its scheme where it names none. */}}
{{- define "agentmeter.urlPort" -}}
{{- $url := urlParse . }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{/* The ports that egress to Kafka needs: as given, or those of the brokers. */}}
{{- define "agentmeter.kafkaPorts" -}}
{{- $ports := .Values.networkPolicy.kafka.ports }}
{{- if not $ports }}
{{- range .Values.kafka.brokers }}{{ $ports = append $ports (regexFind "[0-9]+$" .) }}{{ end }}
{{- end }}
{{- range uniq $ports }}
- port: {{ . }}
{{- end }}
{{- end }}
