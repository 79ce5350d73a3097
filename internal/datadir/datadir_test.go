package datadir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/vfs"
)

func identity(t *testing.T, name, token string) Identity {
	t.Helper()
	c, err := bootstrap.Parse("m1=http://a:1,m2=http://b:1", token)
	if err != nil {
		t.Fatal(err)
	}
	return Identity{Cluster: *c, Member: c.Named(name).ID, Name: name}
}

func TestMadeOnceAndFoundAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	fsys := vfs.NewOS(dir)
	if id, err := Inspect(fsys, dir); id != nil || err != nil {
		t.Fatalf("Inspect of nothing: %v, %v", id, err)
	}
	want := identity(t, "m1", "")
	made, err := Open(fsys, dir, want, rand.Reader)
	if err != nil || !made.Fresh || made.Identity.ID == [16]byte{} {
		t.Fatalf("Open: %+v, %v", made, err)
	}
	if _, err := Open(fsys, dir, want, rand.Reader); err == nil || !strings.Contains(err.Error(), "is in use by another process: stop that one first") {
		t.Errorf("a second process: %v", err)
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(fsys, dir, want, rand.Reader)
	if err != nil || again.Fresh || again.Identity.ID != made.Identity.ID || again.Identity.Cluster.String() != want.Cluster.String() {
		t.Fatalf("Open again: %+v, %v", again, err)
	}
	again.Close()
}

// Directories that are not ours are refused with a sentence, and not a byte of them changes.
func TestRefusedAndUntouched(t *testing.T) {
	want := identity(t, "m1", "")
	valid := func(change func(string) string) map[string]string {
		return map[string]string{identityName: change(string(want.encode())), "LOCK": ""}
	}
	foreign := identity(t, "m1", "another token")
	sibling := identity(t, "m2", "")
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"etcd's":          {map[string]string{"member/wal/0.wal": "x"}, "is etcd's"},
		"somebody's":      {map[string]string{"photo.jpg": "x"}, `holds "photo.jpg" but no identity.json`},
		"identity lost":   {map[string]string{"wal/1": "x", "LOCK": ""}, `holds "wal" but no identity.json`},
		"another cluster": {valid(func(string) string { return string(foreign.encode()) }), "belongs to another cluster"},
		"another member":  {valid(func(string) string { return string(sibling.encode()) }), "belongs to another member: it is m2's"},
		"later format":    {valid(func(s string) string { return strings.Replace(s, `"format": 1`, `"format": 2`, 1) }), "has format 2"},
		"new feature": {valid(func(s string) string {
			return strings.Replace(s, `"format": 1`, `"format": 1, "requires": ["ciphers"]`, 1)
		}),
			"has format 1 [ciphers]"},
		"cut short": {valid(func(s string) string { return s[:40] }), "identity.json: it cannot be read"},
		"bad id":    {valid(func(s string) string { return strings.Replace(s, `"cluster_id": "`, `"cluster_id": "z`, 1) }), "its cluster_id"},
		"too long":  {valid(func(s string) string { return strings.Repeat(" ", 2<<20) + s }), "bytes long, which no identity is"},
		"no file":   {map[string]string{"identity.json/x": ""}, "identity.json cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700)
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			id, err := Inspect(vfs.NewOS(dir), dir)
			if err == nil && id != nil {
				err = id.Match(&want, dir)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if after := files(t, dir); len(after) != len(c.files) {
				t.Errorf("files before %v, after %v", c.files, after)
			} else {
				for file, text := range c.files {
					if after[file] != text {
						t.Errorf("%s changed", file)
					}
				}
			}
		})
	}
}

func files(t *testing.T, dir string) map[string]string {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A failed start leaves a directory that the next one can use: the identity is whole or not there.
func TestDiskFailsWhileMaking(t *testing.T) {
	fsys := vfs.NewMem()
	if _, err := Open(fsys, "d", identity(t, "m1", ""), bytes.NewReader(nil)); err == nil {
		t.Fatal("no randomness, and no error")
	}
	d, err := Open(fsys, "d", identity(t, "m1", ""), rand.Reader)
	if err != nil || !d.Fresh {
		t.Fatalf("the start after a failed one: %v", err)
	}
	if _, err := fsys.OpenRead(newName); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was left behind: %v", newName, err)
	}
}

// TestDamagedIdentity flips each bit of each copy of the identity, and removes one: the other one counts, and both are there again. Where both
// are damaged the directory is refused and left as it is.
func TestDamagedIdentity(t *testing.T) {
	want := identity(t, "m1", "")
	for _, name := range []string{identityName, copyName} {
		for bit := -1; bit < 8*len(want.encode()); bit++ {
			fsys := vfs.NewMem()
			made, err := Open(fsys, "d", want, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			whole := read(t, fsys, name)
			made.Close()
			if bit < 0 {
				err = fsys.Remove(name)
			} else {
				flipped := bytes.Clone(whole)
				flipped[bit/8] ^= 1 << (bit % 8)
				err = replace(fsys, name, newName, flipped)
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := Open(fsys, "d", want, rand.Reader)
			if err != nil || again.Fresh || !again.Mended || again.Identity.ID != made.Identity.ID || again.Identity.Name != "m1" {
				t.Fatalf("bit %d of %s: %+v, %v", bit, name, again, err)
			}
			again.Close()
			for _, each := range []string{identityName, copyName} {
				if !bytes.Equal(read(t, fsys, each), whole) {
					t.Fatalf("bit %d of %s: %s is not what it was", bit, name, each)
				}
			}
		}
	}
}

// TestBothCopiesDamaged damages both: nothing says whose directory it is.
func TestBothCopiesDamaged(t *testing.T) {
	fsys, want := vfs.NewMem(), identity(t, "m1", "")
	made, err := Open(fsys, "d", want, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	for _, name := range []string{identityName, copyName} {
		text := bytes.Replace(read(t, fsys, name), []byte(`"m1"`), []byte(`"m3"`), 1)
		if err := replace(fsys, name, newName, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(fsys, "d", want, rand.Reader); err == nil || !strings.Contains(err.Error(), "its checksum is wrong, and so is its copy's") {
		t.Errorf("got %v", err)
	}
}

func read(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	text, err := readAll(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
