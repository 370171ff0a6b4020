// Command firstboot is what the machine OS's initramfs needs beyond busybox and ignition: it fetches the root file
// system of a live boot, asks for IPv6 addresses, reads the keyfiles of static networking, and prepares a configuration
// for a second attempt of Ignition.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: firstboot rootfs -url URL -sha256 HEX -out FILE | firstboot dhcp6 PORT | firstboot network DIR | firstboot overwrite CONFIG"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "rootfs":
		var f fetch
		flags := flag.NewFlagSet("rootfs", flag.ContinueOnError)
		flags.StringVar(&f.url, "url", "", "where the root file system is")
		flags.StringVar(&f.sha256, "sha256", "", "its digest")
		flags.StringVar(&f.out, "out", "", "the file to write")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		f.log = newLog()
		return f.run(ctx)
	case "dhcp6":
		if len(args) != 2 {
			return errors.New(usage)
		}
		return (&address{port: args[1], log: newLog()}).run(ctx)
	case "overwrite":
		if len(args) != 2 {
			return errors.New(usage)
		}
		return overwriteFile(args[1])
	case "network":
		if len(args) != 2 {
			return errors.New(usage)
		}
		return network(os.Stdout, args[1], "/sys")
	}
	return errors.New(usage)
}

func newLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: dropTime}))
}

// dropTime leaves out what the kernel's log already has in front of each line.
func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
