package configs

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// overlay sets every key that env has a variable for. The name is the prefix and
// the key's path in capitals, with '_' between: PENSTOCK_EDGEHUB_STORE_MAX_BYTES
// for store.max_bytes, PENSTOCK_EDGEHUB_LISTENERS_0_ADDRESS for an element that
// the file has. A list of texts is separated by commas. A variable with the
// prefix and no key is an error.
func overlay(prefix string, env []string, c any) error {
	keys := map[string]reflect.Value{}
	collect(prefix, reflect.ValueOf(c).Elem(), keys)
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		v, ok := keys[name]
		if !ok {
			return &Error{File: "environment", Message: name + " is no setting"}
		}
		if err := set(v, value); err != nil {
			return &Error{File: "environment", Message: fmt.Sprintf("%s: %v", name, err)}
		}
	}
	return nil
}

// collect maps variable names to the settings below v.
func collect(name string, v reflect.Value, into map[string]reflect.Value) {
	switch {
	case isText(v):
		into[name] = v
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			key := v.Type().Field(i).Tag.Get("yaml")
			sep := "_"
			if strings.HasSuffix(name, "_") {
				sep = ""
			}
			collect(name+sep+strings.ToUpper(key), v.Field(i), into)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			collect(name+"_"+strconv.Itoa(i), v.Index(i), into)
		}
	default:
		into[name] = v
	}
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

func set(v reflect.Value, s string) error {
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		if !slices.Contains([]string{"true", "false"}, s) {
			return fmt.Errorf("%q, want true or false", s)
		}
		v.SetBool(s == "true")
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q, want a whole number", s)
		}
		v.SetInt(int64(n))
	case reflect.Slice:
		v.Set(reflect.ValueOf(splitList(s)))
	default:
		return fmt.Errorf("cannot be set from the environment")
	}
	return nil
}

func splitList(s string) (list []string) {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
