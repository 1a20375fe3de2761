package lsm

import (
	"fmt"
	"log/slog"
	"runtime"
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

func (l *logger) fail(err error) {
	if l.fatal != nil {
		l.fatal(fmt.Errorf("%w: %w", ErrFatal, err))
	}
}
