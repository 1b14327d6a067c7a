package chaos_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/test/chaos/unsynced"
)

// powerDisk is a disk whose power can fail, and its current mount.
type powerDisk struct {
	*namespace
	t      *testing.T
	path   string
	disk   *unsynced.Disk
	random *rand.Rand
	served <-chan struct{}
}

// newPowerDisk mounts an empty disk.
func newPowerDisk(t *testing.T, order unsynced.Order) *powerDisk {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("order %s, seed %d", order, seed)
	p := &powerDisk{t: t, random: rand.New(rand.NewPCG(seed, 1))}
	p.disk = unsynced.New(order, rand.New(rand.NewPCG(seed, 2)))
	p.mount(t.TempDir())
	return p
}

func (p *powerDisk) mount(path string) {
	p.t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		p.t.Skipf("SKIPPED, LOSS OF POWER NOT TESTED: FUSE and root are needed: %v", err)
	}
	defer device.Close()
	const mount = `mount -i -t fuse -o fd=3,rootmode=40000,user_id=$(id -u),group_id=$(id -g),default_permissions unsynced "$1"`
	p.namespace, p.path = newNamespace(p.t, "-m", "LOSS OF POWER", []*os.File{device}, mount, path), path
	if p.served, err = p.disk.Serve(device); err != nil {
		p.t.Fatal(err)
	}
}

// unmount unmounts the disk and waits until no process uses it.
func (p *powerDisk) unmount() {
	p.t.Helper()
	p.release()
	select {
	case <-p.served:
	case <-time.After(awaitTimeout):
		p.t.Fatal("the disk is still mounted")
	}
}

// restorePower brings the power back and mounts the disk again.
func (p *powerDisk) restorePower(survival unsynced.Survival) {
	p.t.Helper()
	p.unmount()
	p.disk.Restore(survival)
	p.mount(p.path)
}

// The disk itself is tested: it keeps what was synced, and forgets everything else.
func TestDiskForgetsWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	type files = map[string]string
	everything := unsynced.Survival{Chance: 1, PieceBytes: 512}
	for _, test := range []struct {
		name            string
		before          string // on disk
		do              string
		journal, strict files // what survives, if nothing unsynced does
		visible         files // what processes see, and what survives if everything does
	}{
		{
			name: "a file that was written", do: "printf a >f",
			journal: files{}, strict: files{}, visible: files{"f": "a"},
		},
		{
			name: "a file that was synced", do: "printf a >f; sync f",
			journal: files{"f": "a"}, strict: files{}, visible: files{"f": "a"},
		},
		{
			name: "a file and its directory that were synced", do: "printf a >f; sync f; sync .",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"f": "a"},
		},
		{
			name: "a directory that was synced, and not the file in it", do: "printf a >f; sync .",
			journal: files{"f": ""}, strict: files{"f": ""}, visible: files{"f": "a"},
		},
		{
			name: "fdatasync", before: "touch f", do: "printf a | dd of=f conv=fdatasync",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"f": "a"},
		},
		{
			name: "O_SYNC", before: "touch f", do: "printf a | dd of=f oflag=sync",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"f": "a"},
		},
		{
			name: "O_DSYNC", before: "touch f", do: "printf a | dd of=f oflag=dsync",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"f": "a"},
		},
		{
			name: "what was written after the sync", do: "touch f; sync .; printf a >>f; sync f; printf b >>f",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"f": "ab"},
		},
		{
			name: "what was overwritten and cut off", before: "printf abc >f", do: "printf x | dd of=f conv=notrunc; truncate -s 2 f",
			journal: files{"f": "abc"}, strict: files{"f": "abc"}, visible: files{"f": "xb"},
		},
		{
			name: "a name that was changed", before: "printf a >f", do: "mv f g",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{"g": "a"},
		},
		{
			name: "a name that was changed, of a file that was synced", before: "printf a >f", do: "mv f g; sync g",
			journal: files{"g": "a"}, strict: files{"f": "a"}, visible: files{"g": "a"},
		},
		{
			name: "a name that was changed and its directory synced", before: "printf a >f", do: "mv f g; sync .",
			journal: files{"g": "a"}, strict: files{"g": "a"}, visible: files{"g": "a"},
		},
		{
			name: "a file that took the place of another", before: "printf a >f", do: "printf b >g; sync g; mv g f",
			journal: files{"f": "a", "g": "b"}, strict: files{"f": "a"}, visible: files{"f": "b"},
		},
		{
			name: "a file that was removed", before: "printf a >f", do: "rm f",
			journal: files{"f": "a"}, strict: files{"f": "a"}, visible: files{},
		},
		{
			name: "a file that was removed before another was synced", before: "printf a >f; mkdir d", do: "rm f; touch d/g; sync d/g d",
			journal: files{"d/": "", "d/g": ""}, strict: files{"d/": "", "d/g": "", "f": "a"}, visible: files{"d/": "", "d/g": ""},
		},
		{
			name: "a file that was removed after another was synced", before: "printf a >f; mkdir d", do: "touch d/g; sync d/g d; rm f",
			journal: files{"d/": "", "d/g": "", "f": "a"}, strict: files{"d/": "", "d/g": "", "f": "a"}, visible: files{"d/": "", "d/g": ""},
		},
		{
			name: "directories", do: "mkdir -p a/b; printf c >a/b/c; sync a/b/c a/b",
			journal: files{"a/": "", "a/b/": "", "a/b/c": "c"}, strict: files{}, visible: files{"a/": "", "a/b/": "", "a/b/c": "c"},
		},
		{
			name: "directories that were all synced", do: "mkdir -p a/b; printf c >a/b/c; sync a/b/c a/b a .",
			journal: files{"a/": "", "a/b/": "", "a/b/c": "c"}, strict: files{"a/": "", "a/b/": "", "a/b/c": "c"},
			visible: files{"a/": "", "a/b/": "", "a/b/c": "c"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for order, survivors := range map[unsynced.Order]files{unsynced.Journal: test.journal, unsynced.Strict: test.strict} {
				for _, survival := range []struct {
					survives unsynced.Survival
					want     files
				}{{unsynced.Survival{PieceBytes: 512}, survivors}, {everything, test.visible}} {
					p := newPowerDisk(t, order)
					p.run("sh", "-ec", `cd "$0"; `+test.before, p.path)
					p.restorePower(everything)
					p.run("sh", "-ec", `cd "$0"; `+test.do, p.path)
					if diff := cmp.Diff(test.visible, p.disk.Files()); diff != "" {
						t.Fatalf("%s: before the power failed (-want +got):\n%s", order, diff)
					}
					p.restorePower(survival.survives)
					if diff := cmp.Diff(survival.want, p.disk.Files()); diff != "" {
						t.Errorf("%s: after the power failed with a chance of %v (-want +got):\n%s", order, survival.survives.Chance, diff)
					}
				}
			}
		})
	}
}

// Unsynced writes survive in pieces: of some files none, of some all, of some the first ones, of others any.
func TestDiskTearsUnsyncedWrites(t *testing.T) {
	t.Parallel()
	const files, size, piece = 40, 32 << 10, 512
	p := newPowerDisk(t, unsynced.Journal)
	p.run("sh", "-ec", `cd "$0"; head -c 32768 /dev/zero | tr '\0' a >f; head -c 32768 /dev/zero | tr '\0' b >g
		for i in $(seq 40); do cp f $i; sync $i; dd if=g of=$i bs=5120 conv=notrunc status=none; done; sync f g`, p.path)
	p.restorePower(unsynced.Survival{Chance: 0.5, PieceBytes: piece})
	seen := map[string]int{}
	for i := range files {
		data := p.disk.Files()[strconv.Itoa(i+1)]
		if len(data) != size {
			t.Fatalf("a file has %d bytes", len(data))
		}
		changes := 0
		for at := 1; at < size; at++ {
			if data[at] != data[at-1] {
				changes++
				if at%piece != 0 {
					t.Errorf("half of a piece survived at %d", at)
				}
			}
		}
		switch {
		case changes == 0:
			seen["all "+data[:1]]++
		case changes == 1 && data[0] == 'b':
			seen["the first"]++
		case changes > 1:
			seen["any"]++
		}
	}
	for _, what := range []string{"all a", "all b", "the first", "any"} {
		if seen[what] == 0 {
			t.Errorf("none of %d files has %s: %v", files, what, seen)
		}
	}
}

// The power fails between two changes. The process that makes the second one blocks until it is killed.
func TestDiskBlocksChangesAfterPowerLoss(t *testing.T) {
	t.Parallel()
	p := newPowerDisk(t, unsynced.Strict)
	p.run("sh", "-ec", `cd "$0"; touch f; sync .`, p.path)
	const synced = 7
	p.disk.FailAfter(2 * synced) // each is written and synced
	command := append(p.enter(), "dd", "if=/dev/zero", "of="+p.path+"/f", "bs=4096", "count=20", "oflag=sync", "conv=notrunc")
	writer := exec.Command(command[0], command[1:]...)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	p.awaitFailure()
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.disk.ReleaseWaiting()
	_ = writer.Wait()
	p.restorePower(unsynced.Survival{PieceBytes: 512})
	if size := len(p.disk.Files()["f"]); size != synced*4096 {
		t.Errorf("the file has %d bytes, want the %d that were synced", size, synced*4096)
	}
}
