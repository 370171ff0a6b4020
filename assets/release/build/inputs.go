package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// inputsHash names a release by all that it is made from: every file of this tree except tests, and the Go tool.
func inputsHash(ctx context.Context, source string) (string, error) {
	tool, err := goOutput(ctx, source, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00", tool)
	tree := os.DirFS(source)
	err = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		return hashFile(sum, tree, path)
	})
	if err != nil {
		return "", fmt.Errorf("hash inputs: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// hashFile frames name and content with their lengths, so that no two trees read alike.
func hashFile(sum io.Writer, tree fs.FS, path string) error {
	content, err := fs.ReadFile(tree, path)
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, "%d %s %d ", len(path), path, len(content))
	_, err = sum.Write(content)
	return err
}
