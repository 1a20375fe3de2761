package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

// Keys of the settings.
const (
	keyHome      = "home"
	keySocket    = "socket"
	keyAPI       = "api"
	keyToken     = "token"
	keyListen    = "listen"
	keyAPIListen = "api_listen"
	keyLogLevel  = "log_level"
)

// setting is something that flags, environment and files can say.
type setting struct {
	key, about string
	flag       string // of the root command; empty: none, or one of its command's
	fallback   func(*settings) string
	check      func(string) error // nil: whoever uses it tells
}

// known are all settings, in the order in which they are explained.
func known() []setting {
	fixed := func(value string) func(*settings) string { return func(*settings) string { return value } }
	return []setting{
		{keyHome, "folder of the node's identity, journal and blocks", "home", (*settings).defaultHome, nil},
		{keySocket, "the node's unix socket", "socket", (*settings).defaultSocket, nil},
		{keyAPI, "address of the node to talk to, http://127.0.0.1:7420, in place of the socket", "api", fixed(""), nil},
		{keyToken, "token for an address over TCP", "", fixed(""), nil},
		{keyListen, "addresses for peers, separated by commas", "", fixed("/ip4/0.0.0.0/tcp/7421,/ip4/0.0.0.0/udp/7421/quic-v1"), nil},
		{keyAPIListen, "loopback address of the node's API; none: socket only", "", fixed("127.0.0.1:7420"), nil},
		{keyLogLevel, "debug, info, warn or error", "", fixed("info"), checkLevel},
	}
}

// value is what a setting is, and who said so.
type value struct{ key, value, source string }

// settings resolves each setting: flags, then MUSTER_*, then the user's file,
// then the system's, then defaults.
type settings struct {
	env   func(string) (string, bool)
	given *pflag.FlagSet
	files []configFile // read once, the user's first
	read  bool
	err   error // of reading the files
}

type configFile struct {
	path   string
	values map[string]string
}

func (s *settings) flags(f *pflag.FlagSet) {
	for _, k := range known() {
		if k.flag != "" {
			f.String(k.flag, "", k.about)
		}
	}
	s.given = f
}

func (s *settings) get(key string) string { return s.resolve(key).value }

func (s *settings) resolve(key string) value {
	at := slices.IndexFunc(known(), func(k setting) bool { return k.key == key })
	k := known()[at]
	if k.flag != "" {
		if f := s.given.Lookup(k.flag); f != nil && f.Changed {
			return value{key, f.Value.String(), "--" + k.flag}
		}
	}
	name := "MUSTER_" + strings.ToUpper(key)
	if v, ok := s.env(name); ok {
		return value{key, v, name}
	}
	s.load()
	for _, file := range s.files {
		if v, ok := file.values[key]; ok {
			return value{key, v, file.path}
		}
	}
	return value{key, k.fallback(s), "default"}
}

// load reads the files once. What is wrong with them is told by check.
func (s *settings) load() {
	if s.read {
		return
	}
	s.read = true
	for _, path := range append([]string{s.userFile()}, s.systemFiles()...) {
		values, err := readConfig(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.err = err
		}
		if values != nil {
			s.files = append(s.files, configFile{path, values})
		}
	}
}

// check returns what is wrong with the files of settings.
func (s *settings) check() error {
	s.load()
	return s.err
}

func readConfig(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, &jobs.Problem{Code: jobs.CodeUsage, What: path + ": " + first, Try: "each line is KEY: VALUE"}
	}
	for key := range values {
		if err := checkKey(key); err != nil {
			err.What = path + ": " + err.What
			return nil, err
		}
	}
	return values, nil
}

// checkKey refuses keys that no setting has.
func checkKey(key string) *jobs.Problem {
	var names []string
	for _, k := range known() {
		if k.key == key {
			return nil
		}
		names = append(names, k.key)
	}
	return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("no setting %q", key), Try: "one of " + strings.Join(names, ", ")}
}

// checkSetting refuses what a setting cannot be, and keys that none has.
func checkSetting(key, text string) *jobs.Problem {
	if p := checkKey(key); p != nil {
		return p
	}
	for _, k := range known() {
		if k.key != key || k.check == nil {
			continue
		}
		if p := new(jobs.Problem); errors.As(k.check(text), &p) {
			return &jobs.Problem{Code: jobs.CodeUsage, What: key + ": " + p.What, Why: "it is " + k.about, Try: p.Try}
		}
	}
	return nil
}

func checkLevel(text string) error {
	return jobs.OneOf(text, "is no log level", "debug", "info", "warn", "error")
}

// about is what a setting is for.
func about(key string) string {
	for _, k := range known() {
		if k.key == key {
			return k.about
		}
	}
	return ""
}

// envOr returns an environment variable, or a path below the user's home.
func (s *settings) envOr(name string, below ...string) string {
	if v, ok := s.env(name); ok && filepath.IsAbs(v) {
		return v
	}
	home, _ := s.env("HOME")
	return filepath.Join(append([]string{home}, below...)...)
}

func (s *settings) userFile() string {
	return filepath.Join(s.envOr("XDG_CONFIG_HOME", ".config"), "muster", "config.yaml")
}

func (s *settings) systemFiles() []string {
	dirs, ok := s.env("XDG_CONFIG_DIRS")
	if !ok || dirs == "" {
		dirs = "/etc/xdg"
	}
	var paths []string
	for _, dir := range append(filepath.SplitList(dirs), "/etc") {
		paths = append(paths, filepath.Join(dir, "muster", "config.yaml"))
	}
	return paths
}

func (s *settings) defaultHome() string {
	return filepath.Join(s.envOr("XDG_DATA_HOME", ".local", "share"), "muster")
}

// defaultSocket stands in the user's runtime folder; that of another home
// stands in that home, so that two nodes of one user do not meet.
func (s *settings) defaultSocket() string {
	home := s.resolve(keyHome)
	runtime, ok := s.env("XDG_RUNTIME_DIR")
	if ok && runtime != "" && home.source == "default" {
		return filepath.Join(runtime, "muster", "muster.sock")
	}
	return node.SocketFor(home.value)
}
