package image

import (
	"bytes"
	"fmt"
)

// configFile is where the CoreOS contract looks for the configuration in the initramfs.
const configFile = "config.ign"

// cpioAlign is what the kernel wants every archive to start at, and newc every part of an entry.
const cpioAlign = 4

// archive is a newc cpio with one file, private to root, and the trailer.
func archive(name string, content []byte) []byte {
	var out bytes.Buffer
	entry(&out, 1, name, 0o100600, 1, content)
	entry(&out, 0, "TRAILER!!!", 0, 1, nil)
	return out.Bytes()
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
