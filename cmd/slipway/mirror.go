package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/signature"
)

// mirrorFlags are the command line of mirror; names and meanings are oc-mirror's where it has them.
type mirrorFlags struct {
	config, from, workspace, authFile, since, bandwidth, authorities, logLevel, platformIndex string
	updateGraph, graphImage, signatures, registriesConf                                       string
	releaseKeys                                                                               []string
	dryRun, sourceTLS, targetTLS, v1, v2, sourceHost, withoutSignatures, recheck              bool
	ignoreReleaseSignature, repositories, apart                                               bool
	parallelImages, parallelLayers, retries, nested                                           int
	// accepted for the sake of existing scripts
	cacheDir      string
	port          uint16
	imageTimeout  time.Duration
	strictArchive bool
}

// failed is a run that has done what it could and lists what it could not.
type failed struct {
	code int
	text string
}

func (f *failed) Error() string { return f.text }

// ExitCode tells scripts what failed, as oc-mirror's does.
func (f *failed) ExitCode() int { return f.code }

func mirrorCommand(name string) *cobra.Command {
	f := &mirrorFlags{}
	cmd := &cobra.Command{
		Use:   name + " -c imageset.yaml docker://registry[/namespace] | file://directory",
		Short: "Mirror releases, operators and images to a registry or an archive",
		Long: `Mirror what an ImageSetConfiguration (mirror.openshift.io/v2alpha1) names.

  ` + name + ` -c imageset.yaml docker://registry             from where it is to a registry
  ` + name + ` -c imageset.yaml file://directory              to an archive, to be carried
  ` + name + ` --from file://directory docker://registry      from the archive to a registry

The exit code is a bitmask of what failed: 1 the run itself, 2 releases, 4 operators, 8 additional images, 16 helm.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := f.mirror(cmd)
			if err != nil {
				return err
			}
			defer m.close()
			return m.run(cmd.Context(), args[0])
		},
	}
	f.add(cmd)
	cmd.AddCommand(mirrorDeleteCommand(f))
	return cmd
}

func (f *mirrorFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVarP(&f.config, "config", "c", "", "image set: ImageSetConfiguration")
	flags.StringVar(&f.from, "from", "", "archive to bring to a registry: file://directory")
	flags.StringVar(&f.workspace, "workspace", "", "file://directory whose working-dir keeps plans, state and results (default: the archive's directory, else slipway-mirror)")
	flags.StringVar(&f.authFile, "authfile", "", "credentials (default: those of podman and docker)")
	flags.StringVar(&f.since, "since", "", "state file that the target's side wrote: the archive leaves out what is in it")
	flags.StringVar(&f.bandwidth, "bandwidth", "", "most bytes per second, like 12M")
	flags.StringVar(&f.authorities, "ca", "", "PEM file with certificate authorities to trust in addition")
	flags.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	flags.StringVar(&f.platformIndex, "platform-index", "sparse", "where platforms are chosen: sparse keeps the index as it is, rewritten names the chosen platforms alone and changes its digest")
	flags.BoolVar(&f.dryRun, "dry-run", false, "plan, and move nothing")
	flags.BoolVar(&f.sourceTLS, "src-tls-verify", true, "verify certificates of sources")
	flags.BoolVar(&f.targetTLS, "dest-tls-verify", true, "verify the target's certificate")
	flags.BoolVar(&f.sourceHost, "source-host-in-path", false, "put the source's host into the path at the target")
	flags.BoolVar(&f.withoutSignatures, "remove-signatures", false, "leave signatures and referrers behind")
	flags.BoolVar(&f.recheck, "recheck-signatures", false, "look for signatures of unchanged images again, though less than a day has passed")
	flags.StringVar(&f.updateGraph, "update-graph", os.Getenv("UPDATE_URL_OVERRIDE"), "update graph for platform.channels: a file, or an address that is asked with channel and arch (default: UPDATE_URL_OVERRIDE)")
	flags.StringVar(&f.registriesConf, "registries-conf", os.Getenv("CONTAINERS_REGISTRIES_CONF"), "mirrors to take images from, as in registries.conf (default: CONTAINERS_REGISTRIES_CONF)")
	flags.StringVar(&f.graphImage, "graph-image", "", "image with the graph's data for platform.graph")
	flags.StringVar(&f.signatures, "signature-url", orDefault(os.Getenv("OCP_SIGNATURE_URL"), signatureStore), "signatures of releases: an address or a directory (default: OCP_SIGNATURE_URL)")
	flags.StringArrayVar(&f.releaseKeys, "release-key", keyFiles(os.Getenv("OCP_SIGNATURE_VERIFICATION_PK")), "file with public keys that sign releases (default: OCP_SIGNATURE_VERIFICATION_PK)")
	flags.BoolVar(&f.ignoreReleaseSignature, "ignore-release-signature", false, "take releases that nobody has signed")
	flags.BoolVar(&f.repositories, "repository-scope", false, "name repositories, not namespaces, in mirror sets")
	flags.BoolVar(&f.apart, "one-object-per-file", false, "write each resource into a file of its own")
	flags.IntVar(&f.parallelImages, "parallel-images", 4, "images at a time")
	flags.IntVar(&f.parallelLayers, "parallel-layers", 2, "layers of an image at a time; images times layers blobs move side by side")
	flags.IntVar(&f.retries, "retry-times", 5, "tries after the first one")
	flags.IntVar(&f.nested, "max-nested-paths", 0, "most path components at the target; 0 is any number")
	flags.BoolVar(&f.v2, "v2", true, "accepted and ignored")
	flags.BoolVar(&f.v1, "v1", false, "refused: that format is of the past")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "accepted and without use: there is no cache")
	flags.Uint16VarP(&f.port, "port", "p", 0, "accepted and without use: there is no cache registry")
	flags.DurationVar(&f.imageTimeout, "image-timeout", 0, "accepted and without use: what brings nothing for a minute is continued")
	flags.BoolVar(&f.strictArchive, "strict-archive", true, "accepted and ignored: segments are never larger than archiveSize")
}

// mirror checks the flags and opens what they name.
func (f *mirrorFlags) mirror(cmd *cobra.Command) (*mirror, error) {
	if f.v1 {
		return nil, errors.New("--v1: only v2 image sets are read; change apiVersion to " + imageset.APIVersion)
	}
	if f.parallelImages < 1 || f.parallelLayers < 1 || f.retries < 0 || f.nested < 0 {
		return nil, errors.New("--parallel-images and --parallel-layers want at least 1, --retry-times and --max-nested-paths at least 0")
	}
	if f.platformIndex != "sparse" && f.platformIndex != "rewritten" {
		return nil, fmt.Errorf("--platform-index %q: want sparse or rewritten", f.platformIndex)
	}
	var level slog.Level
	if f.logLevel == "trace" { // oc-mirror's word for more than debug
		f.logLevel = "debug"
	}
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", f.logLevel)
	}
	for name, set := range map[string]bool{"cache-dir": f.cacheDir != "", "port": f.port != 0, "image-timeout": f.imageTimeout != 0} {
		if set {
			fmt.Fprintf(cmd.ErrOrStderr(), "--%s is without use: nothing is cached, and what stalls is continued\n", name)
		}
	}
	limiter, perSecond, err := limiter(f.bandwidth)
	if err != nil {
		return nil, err
	}
	m := &mirror{mirrorFlags: *f, out: cmd.OutOrStdout(), perSecond: perSecond,
		log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))}
	common := remote.Config{Concurrency: f.parallelImages * f.parallelLayers, Attempts: f.retries + 1, Log: m.log}
	paths := remote.AuthPaths(os.Getenv, os.Getuid())
	if f.authFile != "" {
		if _, err := os.Stat(f.authFile); err != nil {
			return nil, fmt.Errorf("--authfile: %w", err)
		}
		paths = []string{f.authFile}
	}
	if common.Keychain, err = remote.OpenAuth(paths); err != nil {
		return nil, err
	}
	if common.Authorities, err = f.readAuthorities(); err != nil {
		return nil, err
	}
	source, target := common, common
	source.Insecure, target.Insecure = !f.sourceTLS, !f.targetTLS
	source.Limiter = limiter
	if source.Mirrors, err = f.sourceMirrors(); err != nil {
		return nil, err
	}
	if m.source, err = remote.New(source); err != nil {
		return nil, err
	}
	m.target, err = remote.New(target)
	return m, err
}

// readAuthorities reads what --ca names; nil without it.
func (f *mirrorFlags) readAuthorities() ([]byte, error) {
	if f.authorities == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(f.authorities)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	return raw, nil
}

// sourceMirrors reads where images are looked for first: that is how a site without internet mirrors for the next one.
func (f *mirrorFlags) sourceMirrors() (*remote.Mirrors, error) {
	if f.registriesConf == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(f.registriesConf)
	if err != nil {
		return nil, fmt.Errorf("--registries-conf: %w", err)
	}
	return remote.ReadMirrors(raw)
}

// limiter reads a number of bytes per second; its burst is a second's worth, and one read's at least.
func limiter(text string) (*rate.Limiter, float64, error) {
	if text == "" {
		return nil, 0, nil
	}
	factor := 1.0
	number := strings.TrimRight(text, "kKMG")
	switch text[len(number):] {
	case "k", "K":
		factor = 1e3
	case "M":
		factor = 1e6
	case "G":
		factor = 1e9
	case "":
	default:
		return nil, 0, fmt.Errorf("--bandwidth %q: want bytes per second, like 12M", text)
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !(value > 0) || math.IsInf(value, 0) {
		return nil, 0, fmt.Errorf("--bandwidth %q: want bytes per second, like 12M", text)
	}
	perSecond := value * factor
	return rate.NewLimiter(rate.Limit(perSecond), max(int(min(perSecond, 1<<30)), 64<<10)), perSecond, nil
}

// readSet reads the image set that -c names.
func (f *mirrorFlags) readSet() (*imageset.Set, error) {
	if f.config == "" {
		return nil, errors.New("-c names the image set; without it there is nothing to mirror")
	}
	raw, err := os.ReadFile(f.config)
	if err != nil {
		return nil, fmt.Errorf("read image set: %w", err)
	}
	set, err := imageset.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read image set %s: %w", f.config, err)
	}
	return set, nil
}

// signatureStore is where the signatures of OpenShift's releases are published.
const signatureStore = "https://mirror.openshift.com/pub/openshift-v4/signatures/openshift/release"

func orDefault(value, other string) string {
	if value == "" {
		return other
	}
	return value
}

func keyFiles(file string) []string {
	if file == "" {
		return nil
	}
	return []string{file}
}

// releaseOptions reads the keys, and makes the client for update graphs, signatures and charts.
func (f *mirrorFlags) releaseOptions() (plan.ReleaseOptions, error) {
	o := plan.ReleaseOptions{Graph: f.updateGraph, GraphImage: f.graphImage, Signatures: f.signatures,
		IgnoreSignatures: f.ignoreReleaseSignature}
	authorities, err := f.readAuthorities()
	if err != nil {
		return o, err
	}
	trust, err := remote.Trust(authorities, !f.sourceTLS)
	if err != nil {
		return o, err
	}
	o.HTTP = &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, ForceAttemptHTTP2: true}}
	var files [][]byte
	for _, file := range f.releaseKeys {
		raw, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("--release-key: %w", err)
		}
		files = append(files, raw)
	}
	o.Keys, err = signature.ReadKeys(files...)
	return o, err
}

func (f *mirrorFlags) planOptions(namespace string, log *slog.Logger) plan.Options {
	return plan.Options{
		Placing: plan.Placing{MaxNested: f.nested, Namespace: namespace, SourceHost: f.sourceHost},
		Rewrite: f.platformIndex == "rewritten", WithoutAttachments: f.withoutSignatures, Look: f.recheck,
		Parallel: f.parallelImages * f.parallelLayers, Log: log,
	}
}

// directory reads file://path.
func directory(flag, value string) (string, error) {
	path, found := strings.CutPrefix(value, "file://")
	if !found || path == "" {
		return "", fmt.Errorf("%s %q: want file://directory", flag, value)
	}
	return filepath.Clean(path), nil
}

// progressEvery is how often a run says how far it is.
const progressEvery = 2 * time.Second
