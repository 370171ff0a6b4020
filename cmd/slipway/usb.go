package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func imageUSBCommand() *cobra.Command {
	var flags apiFlags
	var namespace, infraEnv string
	cmd := &cobra.Command{
		Use:   "usb --infraenv NAME DEVICE|FILE",
		Short: "Write the discovery ISO of an InfraEnv to a USB stick, and read it back",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kube, err := flags.client()
			if err != nil {
				return err
			}
			address, err := isoAddress(cmd.Context(), kube, client.ObjectKey{Namespace: namespace, Name: infraEnv})
			if err != nil {
				return err
			}
			published, err := site(cmd.Context(), kube)
			if err != nil {
				return err
			}
			size, err := writeISO(cmd.Context(), trusting(published["ca.crt"]), address, args[0], cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("write %s: %w", args[0], err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has the discovery ISO of InfraEnv %s, %d bytes, read back and the same\n", args[0], infraEnv, size)
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&infraEnv, "infraenv", "", "name of the InfraEnv")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", hostNamespace, "namespace of the InfraEnv")
	_ = cmd.MarkFlagRequired("infraenv") // fails for a flag that is not there
	return cmd
}

func isoAddress(ctx context.Context, kube client.Client, key client.ObjectKey) (string, error) {
	found := &agentv1beta1.InfraEnv{}
	if err := kube.Get(ctx, key, found); err != nil {
		return "", fmt.Errorf("read InfraEnv %s: %w", key, err)
	}
	if found.Status.ISODownloadURL == "" {
		return "", fmt.Errorf("InfraEnv %s has no ISO: its condition ImageCreated says why, or its OS image has none (`slipway image list`)", key)
	}
	return found.Status.ISODownloadURL, nil
}

// trusting is a client that takes the site's CA besides those of the machine.
func trusting(ca string) *http.Client {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(ca))
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// writeISO downloads to a device or file, syncs, and compares what is read back with what came.
func writeISO(ctx context.Context, client *http.Client, address, path string, out io.Writer) (int64, error) {
	to, err := openTarget(path)
	if err != nil {
		return 0, err
	}
	size, err := copyISO(ctx, client, address, to, out)
	if err := errors.Join(err, to.Close()); err != nil {
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
			err = errors.Join(err, os.Remove(path))
		}
		return 0, err
	}
	return size, nil
}

func copyISO(ctx context.Context, client *http.Client, address string, to *os.File, out io.Writer) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the address has a token
		}
		return 0, fmt.Errorf("download the ISO: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // the status alone says it too
		return 0, fmt.Errorf("download the ISO: %s: %s", response.Status, text)
	}
	size := response.ContentLength
	if capacity, err := to.Seek(0, io.SeekEnd); err != nil || capacity > 0 && capacity < size {
		return 0, errors.Join(err, fmt.Errorf("it holds %d bytes, the ISO has %d", capacity, size))
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	sent := sha256.New()
	if err := copyTelling(io.MultiWriter(to, sent), response.Body, size, progress(out, "written")); err != nil {
		return 0, err
	}
	if err := to.Sync(); err != nil {
		return 0, err
	}
	return size, readBack(to, size, sent, out)
}

func readBack(from *os.File, size int64, sent hash.Hash, out io.Writer) error {
	// Else the page cache answers.
	if err := unix.Fadvise(int(from.Fd()), 0, size, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the cache: %w", err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	got := sha256.New()
	if err := copyTelling(got, io.LimitReader(from, size), size, progress(out, "read back")); err != nil {
		return err
	}
	if string(got.Sum(nil)) != string(sent.Sum(nil)) {
		return errors.New("what is read back is not what was written: the device is broken")
	}
	return nil
}

func copyTelling(to io.Writer, from io.Reader, size int64, tell func(done, total int64)) error {
	for done := int64(0); done < size; {
		n, err := io.CopyN(to, from, min(4<<20, size-done))
		done += n
		tell(done, size)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", done, size, err)
		}
	}
	return nil
}

// openTarget opens a block device that nothing uses, or a file, which is made.
func openTarget(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // it holds a token
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		return nil, errors.New("the file is there already")
	}
	if info.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		return nil, errors.New("it is neither a block device nor a file")
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	if point := mountedAt(string(mounts), real); point != "" {
		return nil, fmt.Errorf("it is mounted at %s: unmount it first", point)
	}
	// Exclusive use fails while the kernel has the device or a partition of it in use otherwise, as swap or in a RAID.
	f, err := os.OpenFile(real, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, errors.New("it is in use: swap, RAID, LVM or another program has it")
	}
	return f, err
}

// mountedAt is where a device or one of its partitions is mounted.
func mountedAt(mounts, device string) string {
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		rest, ok := strings.CutPrefix(fields[0], device)
		if ok && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == "" {
			return fields[1]
		}
	}
	return ""
}
