package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// journalBacklog is the backlog of a journal that this process has opened.
type journalBacklog struct{ backlog admin.Backlog }

func (b journalBacklog) Backlog(ctx context.Context, webhook string, after *journal.Position) (page admin.BacklogPage, err error) {
	page.Batches, page.Next, err = b.backlog.Backlog(ctx, webhook, after, journal.MaxDeadLetters)
	return page, err
}

func (b journalBacklog) ShowWaiting(ctx context.Context, position journal.Position, w io.Writer) error {
	batch, events, err := b.backlog.Waiting(ctx, position)
	if errors.Is(err, journal.ErrNotFound) {
		return admin.NotWaitingError{Positions: []journal.Position{position}}
	}
	if err != nil {
		return err
	}
	return admin.WriteWaiting(w, batch, events)
}

func (b journalBacklog) Drop(ctx context.Context, positions []journal.Position) (journal.Removed, error) {
	return b.backlog.Drop(ctx, positions)
}

func (b journalBacklog) SetAside(ctx context.Context, positions []journal.Position) (journal.Removed, error) {
	return b.backlog.SetAside(ctx, positions)
}

func (s *socketClient) Backlog(ctx context.Context, webhook string, after *journal.Position) (page admin.BacklogPage, err error) {
	query := url.Values{}
	if webhook != "" {
		query.Set("webhook", webhook)
	}
	if after != nil {
		query.Set("after", after.String())
	}
	return page, s.get(ctx, "/backlog?"+query.Encode(), &page)
}

func (s *socketClient) ShowWaiting(ctx context.Context, position journal.Position, w io.Writer) error {
	return s.copy(ctx, "/backlog/"+position.String(), w)
}

func (s *socketClient) Drop(ctx context.Context, positions []journal.Position) (journal.Removed, error) {
	return s.takeOut(ctx, "/backlog/drop", positions)
}

func (s *socketClient) SetAside(ctx context.Context, positions []journal.Position) (journal.Removed, error) {
	return s.takeOut(ctx, "/backlog/set-aside", positions)
}

func (s *socketClient) takeOut(ctx context.Context, path string, positions []journal.Position) (journal.Removed, error) {
	var answer admin.BacklogAnswer
	status, err := s.post(ctx, path, admin.BacklogRequest{Positions: positions}, &answer)
	if err == nil && status != http.StatusOK {
		err = errors.New(answer.Error)
	}
	return answer.Removed, err
}
