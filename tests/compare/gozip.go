// Gozip reads a ZIP archive with Go's archive/zip and writes what it found to standard output, for
// readers.go_members: a record for each member, all numbers little-endian.
//
//	1 | name length, u32 | name | declared size, u64 | pieces | error length, u32 | error
//
// where a piece is its length, u32, and its bytes, and one of length 0 ends them. An archive that
// can't be opened is
//
//	2 | error length, u32 | error
package main

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"
)

// most is where reading a member stops: what is larger is a bomb.
const most = 320 << 20

var piece [1 << 20]byte

func number(out *bufio.Writer, n int) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	out.Write(b[:])
}

func text(out *bufio.Writer, s string) {
	number(out, len(s))
	out.WriteString(s)
}

func member(out *bufio.Writer, file *zip.File) error {
	stream, err := file.Open()
	if err != nil {
		return err
	}
	defer stream.Close()
	for total := 0; ; {
		n, err := stream.Read(piece[:])
		if n > 0 {
			number(out, n)
			out.Write(piece[:n])
			if total += n; total > most {
				return fmt.Errorf("more than %d bytes", most)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func main() {
	time.AfterFunc(time.Minute, func() { os.Exit(3) })
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	archive, err := zip.OpenReader(os.Args[1])
	if err != nil {
		out.WriteByte(2)
		text(out, err.Error())
		return
	}
	defer archive.Close()
	for _, file := range archive.File {
		out.WriteByte(1)
		text(out, file.Name)
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], file.UncompressedSize64)
		out.Write(size[:])
		failure := ""
		if err := member(out, file); err != nil {
			failure = err.Error()
		}
		number(out, 0)
		text(out, failure)
	}
}
