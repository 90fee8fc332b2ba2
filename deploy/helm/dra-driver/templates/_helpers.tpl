{{/* The first part of all names. Long ones are cut, so that "<it>-kubelet-plugin" is a label's value at most. */}}
{{- define "dra-driver.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of a part's objects in the namespace. Takes (list . "part"). */}}
{{- define "dra-driver.name" -}}
{{- printf "%s-%s" (include "dra-driver.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* The name of a part's objects that belong to no namespace: releases of one name in two namespaces do not meet. */}}
{{- define "dra-driver.globalName" -}}
{{- printf "%s.%s" (include "dra-driver.name" .) (index . 0).Release.Namespace -}}
{{- end -}}

{{/* What selects a part's pods. Takes (list . "part"). */}}
{{- define "dra-driver.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of a part's objects. Takes (list . "part"). */}}
{{- define "dra-driver.labels" -}}
{{- $root := index . 0 -}}
{{ include "dra-driver.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The image's reference. */}}
{{- define "dra-driver.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry -}}
{{- $repository := .Values.image.repository -}}
{{- if $registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The name of the ServiceAccount of a part with a value serviceAccount. Takes (list . "part" values). */}}
{{- define "dra-driver.serviceAccountName" -}}
{{- $account := (index . 2).serviceAccount -}}
{{- if $account.name -}}
{{- $account.name -}}
{{- else if $account.create -}}
{{- include "dra-driver.name" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* The name of the class of whole GPUs. */}}
{{- define "dra-driver.gpuClass" -}}
{{- $driver := .Values.driver.name -}}
{{- default (eq $driver "gpu.nvidia.com" | ternary $driver (printf "gpu.%s" $driver)) .Values.deviceClasses.gpu.name -}}
{{- end -}}

{{/* The names of the classes that are installed, by commas. */}}
{{- define "dra-driver.classes" -}}
{{- $names := list -}}
{{- with .Values.deviceClasses.gpu -}}
{{- if .create -}}
{{- $names = append $names (include "dra-driver.gpuClass" $) -}}
{{- end -}}
{{- end -}}
{{- with .Values.deviceClasses.alias -}}
{{- if .create -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* The classes whose claims are this driver's even while it has no device, by commas. */}}
{{- define "dra-driver.watchedClasses" -}}
{{- $installed := without (splitList "," (include "dra-driver.classes" .)) "" -}}
{{- concat $installed .Values.controller.deviceClasses | uniq | join "," -}}
{{- end -}}

{{/* What an unprivileged container needs: nothing. */}}
{{- define "dra-driver.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The pod of an unprivileged container. */}}
{{- define "dra-driver.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Annotations for a Prometheus that goes by them. Takes (list . port). */}}
{{- define "dra-driver.scrapeAnnotations" -}}
{{- if (index . 0).Values.monitoring.annotations.enabled -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}

{{/* The way in for metrics and probes, in a NetworkPolicy. Takes (list . port). */}}
{{- define "dra-driver.metricsIngress" -}}
- ports:
  - protocol: TCP
    port: {{ index . 1 }}
  {{- with (index . 0).Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The way to the API server, in a NetworkPolicy: its addresses are nobody's to know, its ports are. */}}
{{- define "dra-driver.apiServerEgress" -}}
- ports:
  {{- range .Values.networkPolicy.apiServerPorts }}
  - protocol: TCP
    port: {{ . }}
  {{- end }}
{{- end -}}

{{/* Where a part's pods run and who they are. Takes (list . values). */}}
{{- define "dra-driver.placement" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The annotations of the rights of the check before `helm uninstall`. */}}
{{- define "dra-driver.uninstallRights" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: "-10"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}
