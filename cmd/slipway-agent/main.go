// Command slipway-agent is what runs on a host in the live OS: inventory, registration, steps, install.
//
// In the live system it speaks for a host of an InfraEnv; on an installed host ("slipway-agent installed") it waits to be
// called back into the inventory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/protocol"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/runner"
)

// tokenVariable holds the InfraEnv's token; an argument could be read by everybody on the machine.
const tokenVariable = "PULL_SECRET_TOKEN"

type options struct {
	url, infraEnvID, version, ca string
	insecure, installed          bool
	hostFile, tokenFile          string
	root, hostID                 string
	noReboot                     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv(tokenVariable), os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway-agent:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	if len(args) > 0 && args[0] == "installed" {
		o.installed, args = true, args[1:]
	}
	flags := flag.NewFlagSet("slipway-agent [installed]", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.url, "url", "", "https address of the appliance")
	flags.StringVar(&o.infraEnvID, "infra-env-id", "", "id of the InfraEnv")
	flags.StringVar(&o.version, "agent-version", "slipway", "version that the service is told")
	flags.StringVar(&o.ca, "cacert", "/etc/slipway/site-ca.crt", "PEM file of the CA that alone is trusted")
	flags.BoolVar(&o.insecure, "insecure", false, "refused: a host verifies whom it obeys")
	flags.BoolVar(&o.installed, "installed", o.installed, "run on an installed host (as the word installed)")
	flags.StringVar(&o.hostFile, "host-file", "/etc/slipway/host.json", "who the installed host is")
	flags.StringVar(&o.tokenFile, "token-file", "/etc/slipway/host-token", "secret of the installed host")
	flags.StringVar(&o.hostID, "host-id", "", "host id instead of the derived one, for tests")
	flags.StringVar(&o.root, "root", "/", "root of /sys and /proc, for tests")
	flags.BoolVar(&o.noReboot, "no-reboot", false, "end instead of rebooting, for tests")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not understood; options begin with --", flags.Arg(0))
	}
	if o.insecure {
		return o, errors.New("--insecure is refused: give the appliance's CA with --cacert")
	}
	return o, nil
}

func run(ctx context.Context, args []string, token string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(o.ca)
	if err != nil {
		return fmt.Errorf("read CA: %w", err)
	}
	root := machine.Root(o.root)
	if o.installed {
		if token, err = o.installedHost(); err != nil {
			return err
		}
	}
	if o.hostID == "" {
		o.hostID = root.HostID()
	}
	if o.infraEnvID == "" {
		return errors.New("--infra-env-id is missing")
	}
	client, err := protocol.New(o.url, o.infraEnvID, o.hostID, token, ca)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &runner.Runner{
		Client: client, Root: root, Version: o.version, Reboot: reboot,
		Print: func(format string, args ...any) { fmt.Fprintf(out, "slipway-agent: "+format+"\n", args...) },
	}
	if o.noReboot {
		r.Reboot = func() error { cancel(); return nil }
	} else {
		r.Marker = "/run/slipway-agent/installed"
	}
	if !o.installed {
		client.Show(root.Approval())
	}
	if o.installed {
		r.Print("host %s waits for the appliance at %s", o.hostID, o.url)
		return r.Installed(ctx)
	}
	r.Print("host %s looks for the appliance at %s", o.hostID, o.url)
	return r.Discover(ctx)
}

// installedHost reads who the host is; the token is its own.
func (o *options) installedHost() (token string, err error) {
	data, err := os.ReadFile(o.hostFile)
	if err != nil {
		return "", fmt.Errorf("read host: %w", err)
	}
	var host struct {
		InfraEnvID string `json:"infraEnvID"`
		HostID     string `json:"hostID"`
		URL        string `json:"url"`
	}
	if err := json.Unmarshal(data, &host); err != nil {
		return "", fmt.Errorf("read host %s: %w", o.hostFile, err)
	}
	o.infraEnvID, o.hostID, o.url = host.InfraEnvID, host.HostID, host.URL
	secret, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read host token: %w", err)
	}
	return strings.TrimSpace(string(secret)), nil
}

// reboot does not ask the system: the disk is complete, or wiped below a running one.
func reboot() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
