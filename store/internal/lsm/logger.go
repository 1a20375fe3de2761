package lsm

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
)

// logger passes Pebble's messages on. Its progress reports are debug: an
// operator has no use for compactions.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l *logger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}

// Fatalf must not return, and must not take the process with it: it ends the
// calling goroutine, which is Guard's or one of Pebble's own.
func (l *logger) Fatalf(format string, args ...any) {
	l.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// background hears of what Pebble will try again, at once and for ever. On a full
// disk that is a busy loop in which every writer waits: what was synced is in the
// log, so the store ends, and goes on when there is room.
func (l *logger) background(err error) {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		l.fail(err)
		return
	}
	l.Errorf("background error: %s", err)
}

func (l *logger) fail(err error) {
	if l.fatal != nil {
		l.fatal(lost{err})
	}
}

// lost is ErrFatal in the words of its cause: whoever tells of it says what failed.
type lost struct{ cause error }

func (l lost) Error() string   { return l.cause.Error() }
func (l lost) Unwrap() []error { return []error{ErrFatal, l.cause} }
