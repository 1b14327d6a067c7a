package natsfiles

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Where the server keeps a stream, below its StoreDir.
const (
	streamsGlob = "jetstream/*/streams/*"
	metaFile    = "meta.inf"
	metaSumFile = "meta.sum"
	blocksDir   = "msgs"
	indexFile   = "index.db"
	blockSuffix = ".blk"
)

// streamScan is what was found in the files of a stream.
type streamScan struct {
	dir, stream string
	meta        metaState
	blocks      []blockScan // those that need a repair, in order
	intact      int         // records in all blocks
	damaged     int         // records in all blocks, except in those that gave I/O errors
	lost        int         // records in all blocks, except those at the end that may never have been acknowledged
	incomplete  int         // those of them that are the end of an interrupted write
	unexplained int         // blocks with more damaged records than damage explains
}

// metaState is the state of a stream's meta files.
type metaState int

const (
	metaMissing metaState = iota
	metaIntact
	metaDamaged
)

// blockScan is what was found in a block.
type blockScan struct {
	number  int
	ioError error
	damage  []byteRange
	tornEnd bool // only the end of the stream is damaged, as after a crash: the server truncates it
}

// scanStreams looks at the files of all streams and changes nothing.
func scanStreams(storeDir string) (scans []*streamScan, err error) {
	paths, err := fs.Glob(os.DirFS(storeDir), streamsGlob)
	if err != nil {
		return nil, fmt.Errorf("looking for streams: %w", err)
	}
	for _, path := range paths {
		s := &streamScan{dir: filepath.Join(storeDir, path), stream: filepath.Base(path)}
		if err := s.scan(); err != nil {
			return nil, fmt.Errorf("reading the files of a stream: %w", err)
		}
		scans = append(scans, s)
	}
	return scans, nil
}

func (s *streamScan) scan() (err error) {
	if s.meta, err = s.scanMeta(); err != nil {
		return err
	}
	numbers, err := blockNumbers(filepath.Join(s.dir, blocksDir))
	if err != nil {
		return err
	}
	for i, number := range numbers {
		data, err := os.ReadFile(s.blockPath(number))
		switch {
		case errors.Is(err, syscall.EIO):
			s.blocks = append(s.blocks, blockScan{number: number, ioError: err})
		case err != nil:
			return err
		default:
			s.scanBlock(number, data, i == len(numbers)-1)
		}
	}
	return nil
}

func (s *streamScan) scanBlock(number int, data []byte, last bool) {
	damage, intact := findDamage(s.hash(number), data)
	s.intact += intact
	if len(damage) == 0 {
		return
	}
	damaged := 0
	for _, each := range damage {
		damaged += recordsIn(data, each)
	}
	s.damaged += damaged
	block := blockScan{number: number, damage: damage, tornEnd: last && len(damage) == 1 && damage[0].to == len(data)}
	if block.tornEnd && incomplete(data[damage[0].from:]) {
		s.incomplete++
	}
	if !block.tornEnd {
		s.lost += damaged
	}
	if !damageExplains(damaged, intact) {
		s.unexplained++
	}
	s.blocks = append(s.blocks, block)
}

// repairable reports whether damage explains what was found, and not another layout. proven means that the store has intact
// records, so that their layout is known; without, only the end of an interrupted write is explained.
func (s *streamScan) repairable(proven bool) bool {
	if s.damaged == s.incomplete {
		return true
	}
	return proven && s.unexplained == 0 && damageExplains(s.damaged, s.intact)
}

// hash returns the hash of the records of a block.
func (s *streamScan) hash(block int) hashFunc { return newHash(s.stream + "-" + strconv.Itoa(block)) }

func (s *streamScan) blockPath(number int) string {
	return filepath.Join(s.dir, blocksDir, strconv.Itoa(number)+blockSuffix)
}

// scanMeta finds out whether the server can read the stream's metadata.
func (s *streamScan) scanMeta() (metaState, error) {
	meta, err := os.ReadFile(filepath.Join(s.dir, metaFile))
	sum, sumErr := os.ReadFile(filepath.Join(s.dir, metaSumFile))
	if errors.Is(err, fs.ErrNotExist) && errors.Is(sumErr, fs.ErrNotExist) {
		return metaMissing, nil
	}
	for _, err := range []error{err, sumErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO) {
			return 0, err
		}
	}
	if string(sum) == hex.EncodeToString(newHash(s.stream)(meta)) {
		return metaIntact, nil
	}
	return metaDamaged, nil
}

// blockNumbers returns the numbers of the block files in a directory, in order.
func blockNumbers(dir string) (numbers []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if base, isBlock := strings.CutSuffix(entry.Name(), blockSuffix); isBlock {
			if number, err := strconv.Atoi(base); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
