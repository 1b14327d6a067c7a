package unsynced

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Serve answers the kernel's requests at /dev/fuse; the same open file must be passed to mount. The returned channel is closed
// after the unmount.
func (d *Disk) Serve(device *os.File) (<-chan struct{}, error) {
	descriptor, err := syscall.Dup(int(device.Fd()))
	if err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(&fileSystem{fuse.NewDefaultRawFileSystem(), d}, fmt.Sprintf("/dev/fd/%d", descriptor), &fuse.MountOptions{
		Name: "unsynced", MaxWrite: 128 << 10, DisableXAttrs: true, DisableReadDirPlus: true,
	})
	if err != nil {
		return nil, fmt.Errorf("serving FUSE: %w", err)
	}
	served := make(chan struct{})
	go func() { server.Serve(); close(served) }()
	return served, nil
}

// fileSystem answers the kernel's requests for a disk. The kernel knows nodes by their numbers.
type fileSystem struct {
	fuse.RawFileSystem
	disk *Disk
}

// cacheTimeout is how long the kernel may cache answers. It is long because all changes go through the kernel.
const cacheTimeout = time.Hour

// The size of the disk. All of it is always free.
const (
	blockSize = 4096
	blocks    = 4 << 30 / blockSize
)

func (n *node) attributes(out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: n.number, Mode: n.mode, Nlink: 1, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Blksize: blockSize,
		Owner: *fuse.CurrentOwner(),
	}
	out.SetTimes(&n.modified, &n.modified, &n.modified)
}

// reply tells the kernel about a node, which it knows from now on.
func (f *fileSystem) reply(n *node, out *fuse.EntryOut) {
	n.lookups++
	f.disk.nodes[n.number] = n
	out.NodeId = n.number
	out.SetEntryTimeout(cacheTimeout)
	out.SetAttrTimeout(cacheTimeout)
	n.attributes(&out.Attr)
}

func (f *fileSystem) String() string { return "unsynced" }

func (f *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Bsize: blockSize, Frsize: blockSize, NameLen: 255}
	return fuse.OK
}

func (f *fileSystem) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	child := f.disk.nodes[header.NodeId].names[name]
	if child == nil {
		return fuse.ENOENT
	}
	f.reply(child, out)
	return fuse.OK
}

func (f *fileSystem) Forget(number, lookups uint64) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if n := f.disk.nodes[number]; n != nil {
		if n.lookups -= lookups; n.lookups == 0 && n != f.disk.root {
			delete(f.disk.nodes, number)
		}
	}
}

func (f *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	out.SetTimeout(cacheTimeout)
	f.disk.nodes[in.NodeId].attributes(&out.Attr)
	return fuse.OK
}

func (f *fileSystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if !f.disk.beginChange() {
		return fuse.EIO
	}
	defer f.disk.mu.Unlock()
	n := f.disk.nodes[in.NodeId]
	if size, ok := in.GetSize(); ok {
		n.write(write{offset: int(size)}) //nolint:gosec // nobody has that much memory
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode
	}
	if modified, ok := in.GetMTime(); ok {
		n.modified = modified
	}
	out.SetTimeout(cacheTimeout)
	n.attributes(&out.Attr)
	return fuse.OK
}

// add creates a file or directory.
func (f *fileSystem) add(dir uint64, name string, mode uint32, out *fuse.EntryOut) fuse.Status {
	if !f.disk.beginChange() {
		return fuse.EIO
	}
	defer f.disk.mu.Unlock()
	parent := f.disk.nodes[dir]
	if parent.names[name] != nil {
		return fuse.Status(syscall.EEXIST)
	}
	f.disk.lastNumber++
	child := &node{number: f.disk.lastNumber, mode: mode, modified: time.Now()}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		child.names, child.durableNames = map[string]*node{}, map[string]*node{}
	}
	f.disk.changeNames(nameEntry{parent, name, child})
	f.reply(child, out)
	return fuse.OK
}

func (f *fileSystem) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.add(in.NodeId, name, in.Mode, out)
}

func (f *fileSystem) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.add(in.NodeId, name, syscall.S_IFDIR|in.Mode, out)
}

func (f *fileSystem) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.add(in.NodeId, name, syscall.S_IFREG|in.Mode, &out.EntryOut)
}

// remove removes a name.
func (f *fileSystem) remove(dir uint64, name string) fuse.Status {
	if !f.disk.beginChange() {
		return fuse.EIO
	}
	defer f.disk.mu.Unlock()
	parent := f.disk.nodes[dir]
	child := parent.names[name]
	if child == nil {
		return fuse.ENOENT
	}
	if len(child.names) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	f.disk.changeNames(nameEntry{parent, name, nil})
	return fuse.OK
}

func (f *fileSystem) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return f.remove(header.NodeId, name)
}

func (f *fileSystem) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return f.remove(header.NodeId, name)
}

func (f *fileSystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if in.Flags != 0 {
		return fuse.EINVAL // as file systems that do not know the flags
	}
	if !f.disk.beginChange() {
		return fuse.EIO
	}
	defer f.disk.mu.Unlock()
	source, target := f.disk.nodes[in.NodeId], f.disk.nodes[in.Newdir]
	child, replaced := source.names[from], target.names[to]
	if child == nil {
		return fuse.ENOENT
	}
	if replaced != nil && len(replaced.names) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	f.disk.changeNames(nameEntry{source, from, nil}, nameEntry{target, to, child})
	return fuse.OK
}

func (f *fileSystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buffer []byte) (fuse.ReadResult, fuse.Status) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	data := f.disk.nodes[in.NodeId].data
	return fuse.ReadResultData(buffer[:copy(buffer, data[min(in.Offset, uint64(len(data))):])]), fuse.OK
}

func (f *fileSystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if !f.disk.beginChange() {
		return 0, fuse.EIO
	}
	defer f.disk.mu.Unlock()
	f.disk.nodes[in.NodeId].write(write{offset: int(in.Offset), data: append([]byte{}, data...)}) //nolint:gosec // nobody has that much memory
	return uint32(len(data)), fuse.OK                                                             //nolint:gosec // it is at most MaxWrite
}

func (f *fileSystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if !f.disk.beginChange() {
		return fuse.EIO
	}
	defer f.disk.mu.Unlock()
	f.disk.sync(f.disk.nodes[in.NodeId])
	return fuse.OK
}

func (f *fileSystem) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.Fsync(cancel, in)
}

// OpenDir takes a snapshot of the list, so that removals do not move the entries that ReadDir has still to return.
func (f *fileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	var list []*nameEntry
	for name, child := range f.disk.nodes[in.NodeId].names {
		list = append(list, &nameEntry{nil, name, child})
	}
	f.disk.lastNumber++ // not a node's number
	out.Fh = f.disk.lastNumber
	f.disk.lists[out.Fh] = list
	return fuse.OK
}

func (f *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	list := f.disk.lists[in.Fh]
	for _, item := range list[min(in.Offset, uint64(len(list))):] {
		if !out.AddDirEntry(fuse.DirEntry{Name: item.name, Ino: item.node.number, Mode: item.node.mode}) {
			break
		}
	}
	return fuse.OK
}

func (f *fileSystem) ReleaseDir(in *fuse.ReleaseIn) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	delete(f.disk.lists, in.Fh)
}
