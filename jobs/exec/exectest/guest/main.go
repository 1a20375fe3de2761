// Command guest is the program that package exectest runs: one word says what
// it does, well or badly.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(64)
	}
	verb, args := os.Args[1], os.Args[2:]
	var err error
	switch verb {
	case "echo": // prints its words on stdout and their number on stderr
		fmt.Println(strings.Join(args, " "))
		fmt.Fprintln(os.Stderr, len(args))
	case "exit": // ends with a code
		os.Exit(number(args[0]))
	case "environment":
		fmt.Println(os.Args[0])
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "loop": // says that it is up, then never ends
		fmt.Println("looping")
		for {
			runtime.KeepAlive(verb)
		}
	case "flood": // writes "0123456789" to stdout or stderr for ever
		to := map[string]*os.File{"stdout": os.Stdout, "stderr": os.Stderr}[args[0]]
		for {
			fmt.Fprint(to, "0123456789")
		}
	case "hog": // takes memory for ever
		var all [][]byte
		for {
			all = append(all, bytes.Repeat([]byte{1}, 1<<20))
			runtime.KeepAlive(all)
		}
	case "world": // prints all it can learn that could differ between machines
		world()
	case "copy": // copies one file
		var data []byte
		if data, err = os.ReadFile(args[0]); err == nil {
			err = os.WriteFile(args[1], data, 0o600)
		}
	case "write": // writes a word to a file, making its folders
		err = write(args[0], args[1])
	case "pair": // writes two files
		if err = write(args[0], "first"); err == nil {
			err = write(args[1], "second")
		}
	case "fill": // writes so many bytes to a file, a KiB at a time
		err = fill(args[0], number(args[1]))
	case "stretch": // makes a file that long without writing to it
		if err = os.WriteFile(args[0], nil, 0o600); err == nil {
			err = os.Truncate(args[0], int64(number(args[1])))
		}
	case "mirror": // copies all below a folder into another
		err = os.CopyFS(args[1], os.DirFS(args[0]))
	case "shrink": // makes files that long, and each a byte before the next
		err = shrink(number(args[0]), int64(number(args[1])))
	case "files": // makes, renames and removes files and folders under /out
		err = files()
	case "litter": // makes empty files for ever
		for i := 0; err == nil; i++ {
			err = os.WriteFile(fmt.Sprintf("/out/%d", i), nil, 0o600)
		}
	case "check": // a job's check: its result's standard output begins with a word
		err = check(args[0])
	case "deep": // makes folders in folders for ever
		for dir := "/out/d"; err == nil; dir += "/d" {
			err = os.Mkdir(dir, 0o700)
		}
	default:
		err = fmt.Errorf("unknown verb %q", verb)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(word string) error {
	stdout, err := os.ReadFile("/in/result/stdout")
	if err == nil && (!strings.HasPrefix(string(stdout), word) || os.Getenv("MUSTER_END") != "result") {
		err = fmt.Errorf("it ended in %s and says %.20q", os.Getenv("MUSTER_END"), stdout)
	}
	return err
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func world() {
	fmt.Println(time.Now().UTC())
	begun := time.Now()
	time.Sleep(3 * time.Hour)
	fmt.Println(time.Since(begun).Truncate(time.Hour))
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%x\n", random)
	host, err := os.Hostname()
	fmt.Println(host, err, os.Getpid(), os.Getuid())
	err = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Println(path, err)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Println(path, info.Mode(), info.Size(), info.ModTime().UnixNano(), info.Sys())
		return nil
	})
	fmt.Println(err)
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

func fill(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte{'x'}, 1024)
	for n > 0 {
		if n < len(block) {
			block = block[:n]
		}
		if _, err := f.Write(block); err != nil {
			return err
		}
		n -= len(block)
	}
	return f.Close()
}

func shrink(files int, size int64) error {
	for i := range files {
		f, err := os.Create(fmt.Sprintf("/out/%d", i))
		if err == nil {
			err = f.Truncate(size)
		}
		if err == nil {
			err = f.Truncate(1)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func files() error {
	steps := []func() error{
		func() error { return os.MkdirAll("/out/a/b", 0o700) },
		func() error { return os.WriteFile("/out/a/b/one", []byte("one"), 0o600) },
		func() error { return os.WriteFile("/out/two", []byte("two"), 0o600) },
		func() error { return os.Rename("/out/two", "/out/a/three") },
		func() error { return os.Rename("/out/a", "/out/c") },
		func() error { return os.WriteFile("/out/gone/x", nil, 0o600) }, // no folder
		func() error { return os.Mkdir("/out/gone", 0o700) },
		func() error { return os.WriteFile("/out/gone/x", []byte("x"), 0o600) },
		func() error { return os.Remove("/out/gone") }, // not empty
		func() error { return os.RemoveAll("/out/gone") },
		func() error { return os.Rename("/out/c", "/out/c/d") },    // into itself
		func() error { return os.Symlink("/in", "/out/link") },     // no links
		func() error { return os.Link("/out/c/three", "/out/xx") }, // no links
		func() error { return os.Truncate("/out/c/three", 1) },
		func() error {
			f, err := os.OpenFile("/out/c/three", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("hree")
			return err
		},
		func() error {
			list, err := os.ReadDir("/out/c")
			fmt.Println(list)
			return err
		},
	}
	for i, step := range steps {
		fmt.Println(i, step())
	}
	return nil
}
