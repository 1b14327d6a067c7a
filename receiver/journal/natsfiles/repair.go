package natsfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Report says what was found and what was left alone.
type Report struct {
	Damaged int            // places that were damaged
	Skipped map[Reason]int // how often files were not repaired
	Lost    map[string]int // messages that were damaged, by stream; some may have been delivered and removed before
}

// Add adds another report to r.
func (r *Report) Add(other Report) {
	r.Damaged += other.Damaged
	for reason, count := range other.Skipped {
		r.skip(reason, count)
	}
	for stream, count := range other.Lost {
		r.lose(stream, count)
	}
}

func (r *Report) skip(reason Reason, count int) {
	if r.Skipped == nil {
		r.Skipped = map[Reason]int{}
	}
	r.Skipped[reason] += count
}

func (r *Report) lose(stream string, count int) {
	if count == 0 {
		return
	}
	if r.Lost == nil {
		r.Lost = map[string]int{}
	}
	r.Lost[stream] += count
}

// Store is the store of a server that does not run.
type Store struct {
	Dir        string // its StoreDir
	Version    string // of the server that will open it
	Quarantine string // directory for damaged files; created when needed
	Logger     *slog.Logger
}

// Repair looks for damage, sets damaged files aside, and leaves the server files that it can read completely; the package
// comment says when and why. With an error the report has what was found before it.
func (s *Store) Repair() (report Report, err error) {
	if !provenVersions[s.Version] {
		s.Logger.Error("Skipped looking for damage in the buffer, the file layout of this NATS server version is not known",
			"version", s.Version, "remedy", "use a release of the receiver with a known version; until then a damaged file loses more messages")
		report.skip(UnknownVersion, 1)
		return report, nil
	}
	scans, err := scanStreams(s.Dir)
	if err != nil {
		return report, err
	}
	recordsProven := slices.ContainsFunc(scans, func(scan *streamScan) bool { return scan.intact > 0 })
	metaProven := len(scans) == 1 || slices.ContainsFunc(scans, func(scan *streamScan) bool { return scan.meta == metaIntact })
	for _, scan := range scans {
		if !scan.repairable(recordsProven) || scan.meta == metaDamaged && !metaProven {
			s.Logger.Error("Skipped the repair of a stream, more of it looks damaged than damage explains",
				"stream", scan.stream, "damaged", scan.damaged, "intact", scan.intact,
				"remedy", "copy the buffer directory before the next restart, and report this")
			report.skip(TooMuchDamage, 1)
			continue
		}
		r := &repairer{dir: scan.dir, stream: scan.stream, quarantine: s.Quarantine, logger: s.Logger, now: time.Now}
		damaged, err := r.repair(scan)
		report.Damaged += damaged
		report.lose(scan.stream, scan.lost)
		if err != nil {
			return report, fmt.Errorf("repairing the buffer's files: %w", err)
		}
	}
	return report, nil
}

// repairer repairs the files of one stream.
type repairer struct {
	dir, stream string
	quarantine  string
	logger      *slog.Logger
	now         func() time.Time
}

func (r *repairer) repair(scan *streamScan) (damaged int, err error) {
	if scan.meta == metaDamaged { // the journal creates the stream again, and the server then finds its blocks
		damaged++
		r.logger.Error("Found damaged stream metadata, creating it again", "stream", r.stream)
		if err := errors.Join(r.quarantineFile(metaFile), r.quarantineFile(metaSumFile)); err != nil {
			return damaged, err
		}
	}
	for _, block := range scan.blocks {
		damaged += max(len(block.damage), 1)
		if err := r.repairBlock(scan.blockPath(block.number), scan.hash(block.number), block); err != nil {
			return damaged, err
		}
	}
	if len(scan.blocks) > 0 { // the index describes the blocks before the repair: the server rebuilds it
		err = r.quarantineFile(filepath.Join(blocksDir, indexFile))
	}
	return damaged, err
}

// repairBlock replaces damaged records of a block by erased ones, so that the server finds all others.
func (r *repairer) repairBlock(path string, hash hashFunc, block blockScan) error {
	if block.ioError != nil {
		r.logger.Error("Could not read a block of the buffer", "stream", r.stream, "block", block.number, "error", block.ioError.Error())
		return r.quarantineFile(filepath.Join(blocksDir, filepath.Base(path)))
	}
	data, err := os.ReadFile(path) //nolint:gosec // in the user's directory
	if err != nil {
		return err
	}
	lost := 0
	for _, damage := range block.damage {
		lost += damage.to - damage.from
	}
	if block.tornEnd {
		r.logger.Warn("Found the end of a stream's last block incomplete or damaged; after a crash nothing of it was acknowledged",
			"stream", r.stream, "bytes", lost)
		return nil
	}
	r.logger.Error("Found damaged messages in the buffer, they are lost", "stream", r.stream, "block", block.number, "places", len(block.damage), "bytes", lost)
	if err := r.copyToQuarantine(filepath.Base(path), data); err != nil {
		return err
	}
	for _, damage := range slices.Backward(block.damage) {
		if damage.to == len(data) {
			data = data[:damage.from]
		} else {
			copy(data[damage.from:damage.to], erasedRecord(hash, damage.to-damage.from))
		}
	}
	return replaceFile(path, data)
}

// quarantinePath returns the path in the quarantine for a file of the stream.
func (r *repairer) quarantinePath(name string) (string, error) {
	if err := os.MkdirAll(r.quarantine, 0o700); err != nil {
		return "", err
	}
	return filepath.Join(r.quarantine, fmt.Sprintf("%s-%s-%d", r.stream, filepath.Base(name), r.now().UnixNano())), nil
}

// quarantineFile moves a file of the stream into the quarantine.
func (r *repairer) quarantineFile(name string) error {
	path, err := r.quarantinePath(name)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(r.dir, name), path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r *repairer) copyToQuarantine(name string, data []byte) error {
	path, err := r.quarantinePath(name)
	if err != nil {
		return err
	}
	return replaceFile(path, data)
}

// replaceFile writes a file so that it has the old or the new content whatever happens.
func replaceFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
