package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/slipway-io/slipway/mirror/archive"
	"github.com/slipway-io/slipway/mirror/sync"
	"github.com/slipway-io/slipway/mirror/workspace"
)

// namesShown of the images that one cause has failed.
const namesShown = 3

// printFailures lists what failed, each with its cause and whose it is; what fails of a registry, like a missing login, is said once for all its images.
func printFailures(out io.Writer, images []sync.Outcome) {
	hit := map[string][]sync.Outcome{}
	for _, o := range images {
		if o.Status == sync.Failed && o.Cause != "" {
			hit[o.Cause] = append(hit[o.Cause], o)
		}
	}
	for _, o := range images {
		if o.Status != sync.Failed {
			continue
		}
		alike := hit[o.Cause]
		switch {
		case o.Cause == "" || len(alike) == 1:
			fmt.Fprintf(out, "failed: %s: %s\n", outcomeName(o), o.Error)
		case len(alike) > 1:
			fmt.Fprintf(out, "failed: %d images: %s\n", len(alike), o.Cause)
			for _, one := range alike[:min(len(alike), namesShown)] {
				fmt.Fprintf(out, "        %s\n", outcomeName(one))
			}
			if rest := len(alike) - namesShown; rest > 0 {
				fmt.Fprintf(out, "        and %d more\n", rest)
			}
			hit[o.Cause] = nil // said
		}
	}
}

func outcomeName(o sync.Outcome) string {
	text := string(o.Category) + " image " + o.Origin
	if o.Owner != "" {
		text += " of " + o.Owner
	}
	return text
}

// verdict lists the failures, and ends with what they mean.
func (m *mirror) verdict(result *sync.Result) error {
	printFailures(m.out, result.Images)
	switch {
	case result.ExitCode == 0:
		return nil
	case m.dryRun:
		return &failed{result.ExitCode, fmt.Sprintf("%d images can't be had", result.Failed)}
	case m.from != "":
		return &failed{result.ExitCode, fmt.Sprintf("%d images failed; what succeeded is there, and what is not in this archive comes with the next one", result.Failed)}
	case result.Copied+result.Present == 0:
		return &failed{result.ExitCode, fmt.Sprintf("%d images failed, and no other was mirrored; the same command tries them again", result.Failed)}
	}
	return &failed{result.ExitCode, fmt.Sprintf("%d images failed; what succeeded is there, and the same command tries the rest again", result.Failed)}
}

// ended says why a run has ended before everything was tried: an archive that is refused, or a disk that is gone.
func (m *mirror) ended(w *workspace.Workspace, result *sync.Result, reason error) error {
	if archive.Broken(reason) {
		fmt.Fprintf(m.out, "%d images copied, %d were there, %d waiting; %s moved; the target keeps what it has\n", result.Copied, result.Present, result.Waiting, size(result.Bytes))
		return archive.Advise(reason)
	}
	if err := result.Write(w.Path("result.json")); err != nil {
		return err
	}
	return &failed{result.ExitCode, fmt.Sprintf("%s: nothing of the archive was used, and the target is as it was", strings.TrimSpace(reason.Error()))}
}
