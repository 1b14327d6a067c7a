package engine

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/natsfiles"
)

// Embedded is a server in this process that no other process can reach.
type Embedded struct {
	Dir     string
	Reserve int64 // bytes of the volume to keep free, see [ReserveFor]; 0: none
	Logger  *slog.Logger

	repairs natsfiles.Report // since the last successful Open
	stuck   atomic.Bool      // a server does not stop
}

// Open repairs the files, starts the server and connects to it. It fails if another process uses the directory.
func (e *Embedded) Open(ctx context.Context) (*Connection, error) {
	if e.stuck.Load() {
		return nil, ErrStuck
	}
	if err := checkUnused(e.Dir, clusterDir, "--buffer=cluster"); err != nil {
		return nil, err
	}
	unlock, err := lockDir(e.Dir)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(e.Dir); err != nil {
		unlock()
		return nil, err
	}
	reserve := NewDiskReserve(e.Dir, e.Reserve)
	conn, err := e.open(ctx)
	if reserve.releaseOnFull(err) {
		e.Logger.Warn(reserveReleased)
		conn, err = e.open(ctx)
	}
	if err != nil {
		if !errors.Is(err, ErrStuck) {
			unlock()
		}
		return nil, err
	}
	stop := conn.Close
	conn.Close = func() { e.stuck.Store(!endsInTime(func() { stop(); unlock() })) }
	conn.Checkpoint = filepath.Join(e.Dir, checkpoint)
	conn.Reserve, conn.Repairs, e.repairs = reserve, e.repairs, natsfiles.Report{}
	conn.RecordFile = filepath.Join(e.Dir, recordFile)
	return conn, nil
}

// Close does nothing: the server runs as long as a connection.
func (e *Embedded) Close() {}

func (e *Embedded) open(ctx context.Context) (*Connection, error) {
	if err := checkWritable(e.Dir); err != nil {
		return nil, err
	}
	options := serverOptions(filepath.Join(e.Dir, embeddedDir))
	options.ServerName, options.DontListen = "receiver", true
	files := natsfiles.Store{Dir: options.StoreDir, Version: server.VERSION, Quarantine: filepath.Join(e.Dir, quarantineDir), Logger: e.Logger}
	report, err := files.Repair()
	e.repairs.Add(report)
	if err != nil {
		return nil, err
	}
	log := newServerLog(e.Logger, storeFailures)
	running, stop, err := launchServer(ctx, options, log)
	if err != nil {
		return nil, err
	}
	conn, err := connectInProcess(running)
	if err != nil {
		return nil, stopAfter(err, stop)
	}
	select {
	case <-log.failed: // during the recovery, which has succeeded
	default:
	}
	dirs := natsfiles.NewDirs(options.StoreDir, server.VERSION)
	return &Connection{
		Conn: conn, Close: func() { conn.Close(); stop() }, Exclusive: true,
		Failed: log.failed, SyncDirs: dirs.SyncAll, SyncDir: dirs.Sync,
	}, nil
}
