package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// logHandler writes log lines in the shape that etcd's have, because that is what people's pipelines parse:
//
//	{"level":"info","ts":"2026-11-24T06:13:00.123456Z","caller":"balsa/serve.go:42","msg":"...","key":"value"}
//
// and with --log-format=console the same, tab-separated. The attributes are written by slog's own JSON handler.
type logHandler struct {
	sink    *logSink
	level   slog.Leveler
	console bool
	// attrs writes a record's attributes as one JSON object into buffer; both are guarded by sink's lock.
	attrs  slog.Handler
	buffer *bytes.Buffer
}

// logSink is where all handlers of one logger write, one line at a time.
type logSink struct {
	mu sync.Mutex
	w  io.Writer
}

func newLogHandler(w io.Writer, level slog.Leveler, console bool) *logHandler {
	h := &logHandler{sink: &logSink{w: w}, level: level, console: console, buffer: &bytes.Buffer{}}
	h.attrs = slog.NewJSONHandler(h.buffer, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: replaceAttr})
	return h
}

// replaceAttr leaves out what the line's beginning has already, and writes durations as people read them.
func replaceAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = h.attrs.WithAttrs(attrs)
	return &c
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.attrs = h.attrs.WithGroup(name)
	return &c
}

func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	ts, level, caller, msg := record.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), levelName(record.Level), callerOf(record.PC), record.Message
	record.Time, record.Level, record.Message = time.Time{}, slog.LevelInfo, "" // replaceAttr leaves these out
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	h.buffer.Reset()
	if err := h.attrs.Handle(ctx, record); err != nil {
		return err
	}
	attrs := bytes.TrimSpace(h.buffer.Bytes()) // {"key":"value"}
	var line []byte
	if h.console {
		line = fmt.Appendf(nil, "%s\t%s\t%s\t%s", ts, level, caller, msg)
		if len(attrs) > 2 {
			line = append(append(line, '\t'), attrs...)
		}
	} else {
		line = fmt.Appendf(nil, `{"level":%q,"ts":%q,"caller":%q,"msg":%s`, level, ts, caller, jsonString(msg))
		if len(attrs) > 2 {
			line = append(append(line, ','), attrs[1:]...)
		} else {
			line = append(line, '}')
		}
	}
	_, err := h.sink.w.Write(append(line, '\n'))
	return err
}

func jsonString(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return strconv.AppendQuote(nil, s)
	}
	return text
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}

// callerOf returns the last directory, file and line of a program counter, as zap has it.
func callerOf(pc uintptr) string {
	if pc == 0 {
		return "unknown"
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return filepath.Base(filepath.Dir(frame.File)) + "/" + filepath.Base(frame.File) + ":" + strconv.Itoa(frame.Line)
}

// openLog makes the logger that --log-outputs, --log-level and --log-format ask for.
func openLog(outputs []string, level, format string) (*slog.Logger, func() error, error) {
	var writers []io.Writer
	var closers []io.Closer
	for _, output := range outputs {
		switch output {
		case "default", "stderr":
			writers = append(writers, os.Stderr)
		case "stdout":
			writers = append(writers, os.Stdout)
		default:
			file, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			if err != nil {
				return nil, nil, fmt.Errorf("--log-outputs: %w", err)
			}
			writers, closers = append(writers, file), append(closers, file)
		}
	}
	if len(writers) == 0 {
		return nil, nil, errors.New("--log-outputs is empty: name stderr, stdout or a file")
	}
	closeAll := func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	lowest := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn}
	least, ok := lowest[level]
	if !ok {
		least = slog.LevelError // error, and zap's levels above it
	}
	return slog.New(newLogHandler(io.MultiWriter(writers...), least, format == "console")), closeAll, nil
}
