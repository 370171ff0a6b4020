package plan

import (
	"strings"

	"github.com/slipway-io/slipway/mirror/remote"
)

// Placing says where images go at the target.
type Placing struct {
	// MaxNested is the most path components that the target takes, its namespace included; 0 means any number.
	MaxNested int
	// Namespace of the target, which counts.
	Namespace string
	// SourceHost puts the source's host in front of the path, so that quay.io/a/b and docker.io/a/b don't meet.
	SourceHost bool
}

// path of a repository at the target, below the namespace.
func (p Placing) path(source remote.Repository) string {
	path := source.Path
	if source.IsLayout() {
		return p.fold(path[strings.LastIndexByte(path, '/')+1:])
	}
	if p.SourceHost {
		path = hostPath(source.Host) + "/" + path
	}
	return p.fold(path)
}

// fold joins the last components with a dash until the path is short enough.
func (p Placing) fold(path string) string {
	if p.MaxNested <= 0 {
		return path
	}
	most := p.MaxNested
	if p.Namespace != "" {
		most -= strings.Count(p.Namespace, "/") + 1
	}
	parts := strings.Split(path, "/")
	most = max(most, 1)
	if len(parts) <= most {
		return path
	}
	return strings.Join(append(parts[:most-1:most-1], strings.Join(parts[most-1:], "-")), "/")
}

// hostPath makes a path component of a host: colons and brackets have no place in one.
func hostPath(host string) string {
	return strings.Trim(strings.ToLower(strings.NewReplacer(":", "-", "[", "", "]", "").Replace(host)), "-.")
}

// targetTag is the tag at the target of an image that is named so; an image from a directory is the latest, as in oc-mirror.
func targetTag(ref remote.Reference) string {
	if ref.IsLayout() {
		return "latest"
	}
	return ref.Tag
}

// digestTag is the tag of an image that has none, as oc-mirror names it.
func digestTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }
