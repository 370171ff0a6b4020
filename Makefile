# `make run` and `make test` are the two that one needs; each installs what it lacks.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -s -w -X main.version=$(VERSION)

DEBIAN := qemu-system-x86 ovmf qemu-block-extra ipxe ipxe-qemu debootstrap squashfs-tools dosfstools mtools e2fsprogs gdisk fdisk \
	grub-pc-bin grub-efi-amd64-bin grub-common xorriso isolinux syslinux-common shim-signed grub-efi-amd64-signed cpio zstd xz-utils iproute2 libblkid-dev gcc libc6-dev pkg-config curl ca-certificates busybox-static kmod dnsmasq-base \
	tftp-hpa atftp isc-dhcp-client ndisc6 kea-dhcp4-server kea-admin skopeo podman

# Builds in use stay in the cache; those that nobody has used for long go.
USE := go run ./assets/prune

.PHONY: run test build unit conformance clients integration e2e bench lint generate clean help packages release os fuzz

help: ## Print the targets
	@awk -F':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: packages build ## Rehearse the main job on a virtual site; KEEP=dir keeps its files, ONCE=1 ends when the nodes are Ready
	@release=$$(go run ./assets/release/build) && os=$$(go run ./assets/os/build) && $(USE) "$$release" "$$os" && \
	exec bin/rehearse -bin bin -release "$$release" -os "$$os" $(if $(KEEP),-keep $(KEEP)) $(if $(ONCE),-once)

test: packages lint unit fuzz conformance integration e2e ## Lint, unit, fuzz, conformance, integration and end-to-end tests

build: ## Build the binaries into bin/
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/slipway ./cmd/slipway
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/slipway-agent ./cmd/slipway-agent
	@for arch in arm64=aarch64 ppc64le=ppc64le s390x=s390x; do echo "slipway-agent for $${arch#*=}" && \
	CGO_ENABLED=0 GOARCH=$${arch%=*} go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/slipway-agent-$${arch#*=} ./cmd/slipway-agent || exit 1; done
	go build -trimpath -o bin/rehearse ./test/site/rehearse

# Only lint vets: it covers every file of every tag.
unit: ## Unit tests, with the race detector
	go test -race -vet=off ./...

conformance: ## The distribution-spec's conformance suite against the registry, over HTTPS and both address families
	@mkdir -p bin && cd test/conformance && go build -o ../../bin/conformance github.com/opencontainers/distribution-spec/conformance
	SLIPWAY_CONFORMANCE=$(CURDIR)/bin/conformance go test -count 1 -v -run '^TestConformance$$' ./mirror/registry

fuzz: ## Every fuzz target for a while
	go run ./test/fuzz

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'gofmt: the files above want formatting'; exit 1; }
	go vet -tags integration,e2e ./...
	@mkdir -p bin && cd test/lint && go build -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck -tags integration,e2e ./...

generate: ## Generate deep copies and CRDs
	go generate ./...

clean: ## Remove what make made in this checkout; caches stay
	rm -rf bin

packages: ## Install the Debian packages that are missing
	@missing=$$(for p in $(DEBIAN); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -q '^installed$$' || echo $$p; done); \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; fi

# Arm, Power and IBM Z
.PHONY: loaders foreign
DEBIAN += qemu-system-arm qemu-system-misc qemu-system-ppc qemu-system-data qemu-efi-aarch64

loaders: packages ## Collect the boot loaders of all architectures; prints their directory
	@go run ./assets/loaders/build

foreign: packages ## Make the small machine OSes of Arm, Power and IBM Z; prints their directories
	@go run ./assets/foreign/build

release: ## Build the release image; prints its directory
	@go run ./assets/release/build

os: packages ## Build the machine OS; prints its directory
	@go run ./assets/os/build

clients: tools ## crane and regctl, which the registry is tested with

integration: packages build clients ## Tests against a real etcd and kube-apiserver of our own release, and of the registry with other people's clients
	release=$$(go run ./assets/release/build) && export SLIPWAY_RELEASE_BIN=$$(mktemp -d) && trap 'rm -rf "$$SLIPWAY_RELEASE_BIN"' EXIT && $(USE) "$$release" && \
	go run ./test/release -layout "$$release" -to "$$SLIPWAY_RELEASE_BIN" && \
	SLIPWAY_CLIENTS=$(CURDIR)/bin go test -tags integration -vet=off -timeout 20m -count 1 -p 2 -parallel 16 $$(git grep -lE '^func Test\w*Integration' -- 'services/*_test.go' 'mirror/*_test.go' 'cmd/*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,') -run Integration

bench: packages build ## DHCP beside Kea, TFTP beside dnsmasq and others, HTTP and discovery ISOs beside nginx; 2,000 scripted BMCs beside plain gofish and through the controllers; start, size and idle cost of control planes beside bare ones of the same binaries; power-on to Ready
	release=$$(go run ./assets/release/build) && os=$$(go run ./assets/os/build) && dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(USE) "$$release" "$$os" && \
	go run ./test/release -layout "$$release" -to "$$dir" && \
	go run ./test/bench/dhcp && go run ./test/bench/tftp && go run ./test/bench/http && go run ./test/bench/image && go run ./test/bench/bmc -binaries "$$dir" && \
	go run ./test/bench/bmc -slipway bin/slipway -release "$$release" -os "$$os" && \
	go run ./test/bench/controlplane -release "$$dir/images" -slipway $(CURDIR)/bin/slipway | tee "$$dir/report" && \
	go run ./test/bench/hostedcluster -bin bin -release "$$release" -os "$$os" -bare "$$(awk '/^bare etcd/ {print $$7 "s"}' "$$dir/report")" && \
	bin/rehearse -once -bin bin -release "$$release" -os "$$os"

DEBIAN += skopeo
.PHONY: bench-mirror tools
bench: bench-mirror

bench-mirror: packages build tools ## Mirroring beside skopeo, crane and regsync
	go build -trimpath -o bin/bench-mirror ./test/bench/mirror && bin/bench-mirror -slipway bin/slipway -tools bin

tools: ## Build the registries and clients of others that tests and benchmarks run beside ours
	@mkdir -p bin && cd test/tools && for t in $$(go list tool); do go build -o ../../bin/ $$t || exit 1; done

e2e: packages build ## The main job on a virtual site, with faults
	release=$$(go run ./assets/release/build) && os=$$(go run ./assets/os/build) && \
	loaders=$$(go run ./assets/loaders/build) && foreign=$$(go run ./assets/foreign/build) && $(USE) "$$release" "$$os" "$$loaders" $$foreign && \
	SLIPWAY_E2E_LOADERS="$$loaders" SLIPWAY_E2E_OS_IMAGES="$$foreign" \
	SLIPWAY_E2E_BIN=$(CURDIR)/bin SLIPWAY_E2E_RELEASE="$$release" SLIPWAY_E2E_OS="$$os" \
	go test -tags e2e -vet=off -timeout 60m -count 1 -p 2 -v ./test/e2e/...
