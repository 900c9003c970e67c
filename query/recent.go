package query

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/schemas"
)

// recently holds what was read a moment ago and every request needs, so that a
// busy service asks for it a few times a second and not with each request. It
// holds no figures.
type recently struct {
	progressMu sync.Mutex // guards the two below, and makes one ask for all
	progress   []partitionProgress
	progressAt time.Time

	workspacesMu sync.Mutex // guards the two below
	workspaces   map[schemas.WorkspaceID]*workspaceBook
	changes      int // of all workspaces together
}

// maxRecentChanges bounds the changes that are held of all workspaces together.
// Beyond that the older ones are forgotten, and read again when they are asked
// for.
const maxRecentChanges = 200_000

// workspaceBook is what is known of a workspace beside its usage.
type workspaceBook struct {
	settings  settingsHistory
	directory directory
	read      time.Time
	changes   int
}

// recentProgress is how far the partitions have been counted. It may be a
// moment old: everything that it says has been counted has been.
func (s *Service) recentProgress(ctx context.Context, route string) ([]partitionProgress, error) {
	r := &s.recent
	r.progressMu.Lock()
	defer r.progressMu.Unlock()
	if time.Since(r.progressAt) < s.config.ProgressMaxAge {
		return r.progress, nil
	}
	began := time.Now()
	progress, err := s.progress(ctx, route)
	if err != nil {
		return nil, err
	}
	r.progress, r.progressAt = progress, began
	return progress, nil
}

// recentBook is what is known of a workspace.
func (s *Service) recentBook(ctx context.Context, route string, workspace schemas.WorkspaceID) (*workspaceBook, error) {
	r := &s.recent
	r.workspacesMu.Lock()
	book := r.workspaces[workspace]
	r.workspacesMu.Unlock()
	if book != nil && time.Since(book.read) < s.config.WorkspaceMaxAge {
		return book, nil
	}
	book = &workspaceBook{read: time.Now()}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		book.settings, err = s.settingsOf(ctx, route, workspace)
		return err
	})
	group.Go(func() (err error) {
		book.directory, err = s.directoryOf(ctx, route, workspace)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	book.changes = 1 + len(book.settings) + book.directory.changes()
	r.keep(workspace, book, s.config.WorkspaceMaxAge)
	return book, nil
}

// keep holds a book, and forgets others where there are too many: first those
// that are too old to be used again, then any.
func (r *recently) keep(workspace schemas.WorkspaceID, book *workspaceBook, maxAge time.Duration) {
	if book.changes > maxRecentChanges {
		return
	}
	r.workspacesMu.Lock()
	defer r.workspacesMu.Unlock()
	r.forget(workspace)
	for _, expired := range []bool{true, false} {
		for other, held := range r.workspaces {
			if r.changes+book.changes <= maxRecentChanges {
				break
			}
			if !expired || time.Since(held.read) >= maxAge {
				r.forget(other)
			}
		}
	}
	r.workspaces[workspace] = book
	r.changes += book.changes
}

func (r *recently) forget(workspace schemas.WorkspaceID) {
	if held := r.workspaces[workspace]; held != nil {
		r.changes -= held.changes
		delete(r.workspaces, workspace)
	}
}
