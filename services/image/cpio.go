package image

import (
	"bytes"
	"fmt"
	"path"
	"slices"
)

// configFile is where the CoreOS contract looks for the configuration in the initramfs.
const configFile = "config.ign"

// cpioAlign is what the kernel wants every archive to start at, and newc every part of an entry.
const cpioAlign = 4

// File is an entry of an archive. Mode is as in stat(2); a symbolic link's content is its target.
type File struct {
	Name    string
	Mode    int
	Content []byte
}

// Modes of stat(2).
const (
	directory   = 0o040755
	RegularFile = 0o100000
	Link        = 0o120777
)

// Archive is a newc cpio of files and the directories that they need. Its length is a multiple of four.
func Archive(files []File) []byte {
	var out bytes.Buffer
	made, inode := map[string]bool{".": true}, 0
	add := func(name string, mode int, content []byte) {
		inode++
		entry(&out, inode, name, mode, 1, content)
	}
	for _, file := range files {
		var missing []string
		for dir := path.Dir(file.Name); !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
			missing = append(missing, dir)
		}
		for _, dir := range slices.Backward(missing) {
			add(dir, directory, nil)
		}
		add(file.Name, file.Mode, file.Content)
	}
	entry(&out, 0, "TRAILER!!!", 0, 1, nil)
	return out.Bytes()
}

// archive has one file, private to root.
func archive(name string, content []byte) []byte {
	return Archive([]File{{Name: name, Mode: RegularFile | 0o600, Content: content}})
}

func entry(out *bytes.Buffer, inode int, name string, mode, links int, content []byte) {
	fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	out.WriteString(name)
	out.WriteByte(0)
	out.Write(make([]byte, padding(int64(out.Len()))))
	out.Write(content)
	out.Write(make([]byte, padding(int64(out.Len()))))
}

// padding is how many bytes follow size up to the next boundary.
func padding(size int64) int64 { return (cpioAlign - size%cpioAlign) % cpioAlign }
