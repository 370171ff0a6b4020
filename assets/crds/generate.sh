#!/usr/bin/env bash
# Generates the CRDs from the Go types of go.mod. Descriptions are left out: they are two thirds of the bytes,
# and kubectl explain has little use for kinds whose documentation is elsewhere.
set -euo pipefail
cd "$(dirname "$0")"
rm -f -- *.yaml
for package in \
	github.com/openshift/hypershift/api/hypershift/v1beta1 \
	github.com/openshift/assisted-service/api/v1beta1 \
	github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1 \
	sigs.k8s.io/cluster-api/api/core/v1beta2 \
	../../services/api/capiagent/v1beta1; do
	[[ $package == ../* ]] && package=./$package
	go tool controller-gen crd:maxDescLen=0,allowDangerousTypes=true paths="$package" output:crd:dir=.
done
# Kinds that Slipway neither writes nor reads.
rm -f -- hypershift.openshift.io_awsendpointservices.yaml hypershift.openshift.io_certificatesigningrequestapprovals.yaml
# Of OpenShift's kinds the mirror sets alone. Some of their neighbours can't be generated, which concerns nobody here: what is wanted has to be there.
sets=$(mktemp -d)
trap 'rm -rf "$sets"' EXIT
for package in config/v1 operator/v1alpha1; do
	go tool controller-gen crd:maxDescLen=0,allowDangerousTypes=true paths="github.com/openshift/api/$package" output:crd:dir="$sets" 2>/dev/null || true
done
for kind in config.openshift.io_imagedigestmirrorsets config.openshift.io_imagetagmirrorsets operator.openshift.io_imagecontentsourcepolicies; do
	# Registries are also named by IPv6 literals.
	sed 's/\^((?:\[a-zA-Z0-9\]|/^((?:\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9]|/g' "$sets/$kind.yaml" >"$kind.yaml"
done
# Cluster API finds the contract that a kind follows by this label; status.initialized is of contract v1beta1.
sed -i '0,/^  annotations:/s//  labels:\n    cluster.x-k8s.io\/v1beta1: v1beta1\n  annotations:/' hypershift.openshift.io_hostedcontrolplanes.yaml
grep -q 'cluster.x-k8s.io/v1beta1: v1beta1' hypershift.openshift.io_hostedcontrolplanes.yaml
