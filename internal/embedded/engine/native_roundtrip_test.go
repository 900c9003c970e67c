package engine_test

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"
)

// nativeColumns is every type that the product's tables use, and their relatives.
var nativeColumns = []struct {
	name, kind string
	value      func(i int) any
}{
	{"i8", "Int8", func(i int) any { return int8(i - 64) }},
	{"u16", "UInt16", func(i int) any { return uint16(i) }},
	{"i32", "Int32", func(i int) any { return int32(-i) }},
	{"i64", "Int64", func(i int) any { return int64(i) << 40 }},
	{"u64", "UInt64", func(i int) any { return uint64(i) }},
	{"i128", "Int128", func(i int) any { return big.NewInt(int64(-i)) }},
	{"f64", "Float64", func(i int) any { return float64(i) / 3 }},
	{"flag", "Bool", func(i int) any { return i%2 == 0 }},
	{"text", "String", func(i int) any { return strings.Repeat("ö\n", i%200) }},
	{"fixed", "FixedString(16)", func(i int) any { return fmt.Sprintf("%016d", i) }},
	{"id", "UUID", func(i int) any { return uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)) }},
	{"outcome", "Enum8('counted' = 1, 'play, ground(' = 2, 'it''s' = 3)", func(i int) any { return []string{"counted", "play, ground(", "it's"}[i%3] }},
	{"wide", "Enum16('a' = 1000, 'b' = 2000)", func(i int) any { return []string{"a", "b"}[i%2] }},
	{"low", "LowCardinality(String)", func(i int) any { return fmt.Sprint("agent-", i%300) }},
	{"lownull", "LowCardinality(Nullable(String))", func(i int) any {
		if i%3 == 0 {
			return (*string)(nil)
		}
		s := fmt.Sprint(i % 7)
		return &s
	}},
	{"lowfixed", "LowCardinality(FixedString(3))", func(i int) any { return fmt.Sprintf("%03d", i%5) }},
	{"maybe", "Nullable(Int64)", func(i int) any {
		if i%2 == 0 {
			return (*int64)(nil)
		}
		n := int64(i)
		return &n
	}},
	{"day", "Date", func(i int) any { return time.Date(2026, 1, 1+i%300, 0, 0, 0, 0, time.UTC) }},
	{"day32", "Date32", func(i int) any { return time.Date(1969, 12, 1+i%300, 0, 0, 0, 0, time.UTC) }},
	{"second", "DateTime('UTC')", func(i int) any { return time.Unix(int64(1_800_000_000+i), 0).UTC() }},
	{"micro", "DateTime64(6, 'UTC')", func(i int) any { return time.Unix(1_800_000_000, int64(i)*1000).UTC() }},
	{"milli", "DateTime64(3, 'UTC')", func(i int) any { return time.UnixMilli(int64(i)).UTC() }},
	{"money", "Decimal(18, 6)", func(i int) any { return decimal.New(int64(i), -6) }},
	{"small", "Decimal(9, 2)", func(i int) any { return decimal.New(int64(i), -2) }},
	{"huge", "Decimal(38, 6)", func(i int) any { return decimal.New(int64(-i), -6) }},
	{"links", "Map(String, String)", func(i int) any {
		m := map[string]string{}
		for j := range i % 4 {
			m[fmt.Sprint(j)] = fmt.Sprint(i)
		}
		return m
	}},
	{"names", "Array(String)", func(i int) any { return strings.Split("abcdef"[:i%6], "") }},
	{"lows", "Array(LowCardinality(String))", func(i int) any { return strings.Split("aabb"[:i%5], "") }},
	{"nested", "Array(Array(Nullable(UInt8)))", func(i int) any {
		one := uint8(i)
		return [][]*uint8{{&one, nil}, {}}[:i%3]
	}},
	{"pair", "Tuple(a UInt8, b Tuple(c String, d LowCardinality(String)))", func(i int) any {
		return map[string]any{"a": uint8(i), "b": map[string]any{"c": "x", "d": "y"}}
	}},
	{"sum", "SimpleAggregateFunction(sum, Int64)", func(i int) any { return int64(i) }},
}

func TestEveryTypeInUseReadsBackAsItWasSent(t *testing.T) {
	d := start(t)
	const rows = 1500
	var columns, names []string
	for _, c := range nativeColumns {
		columns = append(columns, c.name+" "+c.kind)
		names = append(names, c.name)
	}
	d.exec("CREATE TABLE t (n UInt64, " + strings.Join(columns, ", ") + ") ENGINE = MergeTree ORDER BY n SETTINGS allow_nullable_key = 1")
	for _, compression := range []*clickhouse.Compression{
		nil, {Method: clickhouse.CompressionLZ4}, {Method: clickhouse.CompressionZSTD, Level: 1}, {Method: clickhouse.CompressionGZIP, Level: 1},
	} {
		d.exec("TRUNCATE TABLE t")
		conn := d.conn(func(o *clickhouse.Options) { o.Compression = compression })
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t")
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			row := []any{uint64(i)}
			for _, c := range nativeColumns {
				row = append(row, c.value(i))
			}
			if err := batch.Append(row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
		// Small blocks, so that the answer has many of them.
		result, err := conn.Query(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 100, "max_threads": 1})),
			"SELECT n, "+strings.Join(names, ", ")+" FROM t ORDER BY n")
		if err != nil {
			t.Fatal(err)
		}
		types := result.ColumnTypes()
		i := 0
		for ; result.Next(); i++ {
			targets := make([]any, len(types))
			for j, kind := range types {
				targets[j] = reflect.New(kind.ScanType()).Interface()
			}
			if err := result.Scan(targets...); err != nil {
				t.Fatal(err)
			}
			for j, c := range nativeColumns {
				got, want := reflect.ValueOf(targets[j+1]).Elem().Interface(), c.value(i)
				if !same(got, want) {
					t.Fatalf("row %d, %s %s: got %#v, want %#v", i, c.name, c.kind, got, want)
				}
			}
		}
		if err := result.Err(); err != nil || i != rows {
			t.Fatalf("%d rows of %d: %v", i, rows, err)
		}
		if err := result.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// same compares values as a person would.
func same(got, want any) bool {
	switch w := want.(type) {
	case time.Time:
		g, ok := got.(time.Time)
		return ok && g.Equal(w)
	case decimal.Decimal:
		g, ok := got.(decimal.Decimal)
		return ok && g.Equal(w)
	case *big.Int:
		g, ok := got.(*big.Int)
		return ok && g.Cmp(w) == 0
	case *string:
		g, ok := got.(*string)
		return ok && (g == nil) == (w == nil) && (g == nil || *g == *w)
	case map[string]any: // the tuple: by its fields
		return fmt.Sprint(got) == fmt.Sprint(w)
	}
	if reflect.DeepEqual(got, want) {
		return true
	}
	return fmt.Sprintf("%v", flat(got)) == fmt.Sprintf("%v", flat(want))
}

// flat shows slices of pointers by what they point at.
func flat(v any) any {
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Slice:
		out := make([]any, rv.Len())
		for i := range out {
			out[i] = flat(rv.Index(i).Interface())
		}
		return out
	case reflect.Pointer:
		if rv.IsNil() {
			return "NULL"
		}
		return flat(rv.Elem().Interface())
	default:
		return v
	}
}

func TestResultsOfAnySizeArriveWhole(t *testing.T) {
	d := start(t)
	conn := d.conn()
	for _, rows := range []int{0, 1, 65_409, 400_000} {
		result, err := conn.Query(t.Context(), "SELECT number, toLowCardinality(toString(number % 1000)) FROM numbers({n:UInt64})", clickhouse.Named("n", rows))
		if err != nil {
			t.Fatal(err)
		}
		n, sum := 0, uint64(0)
		for ; result.Next(); n++ {
			var number uint64
			var text string
			if err := result.Scan(&number, &text); err != nil {
				t.Fatal(err)
			}
			sum += number
		}
		if err := result.Err(); err != nil || n != rows || sum != uint64(rows)*uint64(max(rows-1, 0))/2 {
			t.Errorf("%d rows of %d, sum %d: %v", n, rows, sum, err)
		}
		_ = result.Close()
	}
}

func TestATypeThatCannotBeSentSaysSo(t *testing.T) {
	d := start(t)
	err := d.conn().Exec(t.Context(), "SELECT sumState(number) FROM numbers(3)")
	if err == nil || !strings.Contains(err.Error(), "AggregateFunction(sum, UInt64)") {
		t.Errorf("got %v, want an error that names the type", err)
	}
	d.want("3", "SELECT finalizeAggregation(sumState(number)) FROM numbers(3)")
}
