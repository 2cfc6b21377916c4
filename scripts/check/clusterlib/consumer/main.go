// Reads a topic of orderly from its beginning to its end as of now, and prints a line of JSON for each record.
//
//	consumer BROKERS TOPIC SCHEMAS events|state
//
// It knows Kafka by segmentio/kafka-go and CloudEvents by the specification: nothing of orderly's own.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

type seen struct {
	Partition int      `json:"partition"`
	Offset    int64    `json:"offset"`
	Key       string   `json:"key"`
	ID        string   `json:"id"`
	Type      string   `json:"type"`
	Sequence  string   `json:"sequence"`
	Wrong     []string `json:"wrong"`
}

type printer struct {
	sync.Mutex
	out *bufio.Writer
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: consumer BROKERS TOPIC SCHEMAS events|state")
	}
	brokers, topic, isEvent := strings.Split(args[0], ","), args[1], args[3] == "events"
	required, err := schemas(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	connection, err := kafka.DialContext(ctx, "tcp", brokers[0])
	if err != nil {
		return err
	}
	defer connection.Close()
	partitions, err := connection.ReadPartitions(topic)
	if err != nil {
		return err
	}
	print := &printer{out: bufio.NewWriter(os.Stdout)}
	defer print.out.Flush()
	ends := make(chan error, len(partitions))
	for _, partition := range partitions {
		go func(partition kafka.Partition) {
			ends <- read(ctx, brokers, partition, print, func(message kafka.Message) seen {
				return look(message, required, isEvent)
			})
		}(partition)
	}
	for range partitions {
		if err := <-ends; err != nil {
			return err
		}
	}
	return nil
}

// read hands every record of a partition to look, up to where it ends now.
func read(ctx context.Context, brokers []string, partition kafka.Partition, print *printer, look func(kafka.Message) seen) error {
	leader, err := kafka.DialPartition(ctx, "tcp", fmt.Sprintf("%s:%d", partition.Leader.Host, partition.Leader.Port), partition)
	if err != nil {
		return err
	}
	first, end, err := leader.ReadOffsets()
	leader.Close()
	if err != nil || first == end {
		return err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: brokers, Topic: partition.Topic, Partition: partition.ID, MaxBytes: 10e6, IsolationLevel: kafka.ReadCommitted,
	})
	defer reader.Close()
	if err := reader.SetOffset(kafka.FirstOffset); err != nil {
		return err
	}
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		if !isMark(message) {
			line, err := json.Marshal(look(message))
			if err != nil {
				return err
			}
			print.Lock()
			print.out.Write(append(line, '\n'))
			print.Unlock()
		}
		if message.Offset >= end-1 {
			return nil
		}
	}
}

// isMark says whether a message is the end of a transaction, which this client hands out as if it were a record.
func isMark(message kafka.Message) bool {
	return len(message.Headers) == 0 && len(message.Key) == 4
}

// look reads a record as the binary mode of CloudEvents says, and its data by the schema of its type.
func look(message kafka.Message, required map[string][]string, isEvent bool) seen {
	headers := map[string]string{}
	for _, header := range message.Headers {
		headers[strings.ToLower(header.Key)] = string(header.Value)
	}
	record := seen{
		Partition: message.Partition, Offset: message.Offset, Key: string(message.Key), Wrong: []string{},
		ID: headers["ce_id"], Type: headers["ce_type"], Sequence: headers["ce_sequence"],
	}
	wrong := func(format string, args ...any) { record.Wrong = append(record.Wrong, fmt.Sprintf(format, args...)) }
	if isEvent {
		for _, name := range []string{"ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_sequence"} {
			if headers[name] == "" {
				wrong("no %s", name)
			}
		}
		if headers["ce_specversion"] != "1.0" {
			wrong("specversion %q", headers["ce_specversion"])
		}
		if headers["ce_subject"] != record.Key {
			wrong("subject %q under the key %q", headers["ce_subject"], record.Key)
		}
		if _, err := time.Parse(time.RFC3339Nano, headers["ce_time"]); err != nil {
			wrong("time %q", headers["ce_time"])
		}
	}
	if kind, _, err := mime.ParseMediaType(headers["content-type"]); err != nil || kind != "application/json" {
		wrong("content type %q", headers["content-type"])
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(message.Value, &data); err != nil {
		wrong("data is no JSON object: %v", err)
		return record
	}
	fields, known := required[record.Type]
	if !known {
		wrong("no schema of %q", record.Type)
	}
	for _, field := range fields {
		if _, there := data[field]; !there {
			wrong("no %s in %s", field, record.Type)
		}
	}
	if string(data["version"]) != record.Sequence {
		wrong("version %s under sequence %q", data["version"], record.Sequence)
	}
	if string(data["order_id"]) != `"`+record.Key+`"` {
		wrong("order %s under the key %q", data["order_id"], record.Key)
	}
	return record
}

// schemas gives the fields that each type of event must have.
func schemas(folder string) (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.schema.json"))
	if err != nil {
		return nil, err
	}
	required := map[string][]string{}
	for _, file := range files {
		var schema struct{ Required []string }
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &schema)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		required[strings.TrimSuffix(filepath.Base(file), ".schema.json")] = schema.Required
	}
	return required, nil
}
