/* JSON text without a tree: one validating pass, zero allocation, values stay slices of the text.
 *
 * The grammar is all of RFC 8259, and the bytes must be UTF-8 (a lone surrogate escape is refused:
 * it has no UTF-8 form). Limits are the caller's. Recursion-free: nesting lives in a bitmap.
 *
 * jansson owns the prefix json_ too; no name here is one of its names, and no file includes both.
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_JSON_H
#define SORI_PROTO_JSON_H

#include "base/bytes.h"

#define JSON_DEPTH_MAX  64 /* the most that json_limits.depth may ask for */
#define JSON_FIELDS_MAX 32 /* the most fields that one call may want */

struct json_limits {
    unsigned depth;  /* open objects and arrays at once; 1 = a flat object; up to JSON_DEPTH_MAX */
    unsigned values; /* values in all: objects, arrays and scalars, the outermost included */
    size_t bytes;    /* length of the text */
};

enum json_kind {
    JSON_KIND_NONE, /* not there */
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_BOOL,
    JSON_KIND_NULL,
};

/* One key that the caller wants, and what was found. */
struct json_field {
    const char *key;     /* in: the decoded key */
    struct slice value;  /* out: the raw value, quotes and braces included; empty when not there */
    enum json_kind kind; /* out: JSON_KIND_NONE when not there */
};

/* Checks that text is one JSON value, space around it allowed.
 *
 * Returns 0; -EBADMSG when it is not JSON or not UTF-8; -E2BIG when it breaks limits->depth or
 * limits->values; -EMSGSIZE when it is longer than limits->bytes. */
int json_scan(struct slice text, const struct json_limits *limits);

/* The same for a text that must be one object, and fills fields[0..n) from its own members in the
 * same pass. Keys are compared decoded ("\u0074ype" is "type").
 *
 * Returns like json_scan(), and -EBADMSG when the value is no object, -EEXIST when one of the
 * wanted keys is there twice. On failure fields hold what was found before it: good enough to
 * answer the sender, not to act on. */
int json_scan_object(struct slice text, const struct json_limits *limits, struct json_field *fields,
                     size_t n);

/* Fills fields from an object inside a text that was scanned before (or any other bytes: it never
 * reads outside object, but then the slices may be nonsense).
 *
 * Returns 0; -EEXIST when a wanted key is there twice; -EBADMSG when it is no object. */
int json_fields(struct slice object, struct json_field *fields, size_t n);

/* Walks the items of an array inside a scanned text:
 *
 *     struct json_items it = json_items(array);
 *     while (json_items_next(&it, &value)) ...
 *
 * A slice that is no array has no items. */
struct json_items {
    struct slice _array;
    size_t _at;
};
struct json_items json_items(struct slice array);
bool json_items_next(struct json_items *it, struct slice *value);
/* How many items the array has. */
size_t json_items_count(struct slice array);

/* What kind of value begins at the first byte of a raw value. */
enum json_kind json_kind_of(struct slice value);

/* Text of a raw string of a scanned text. Without escapes *out borrows from value; with escapes it
 * is decoded into scratch and borrows from there. Gives false, *out untouched, when value is no
 * string or scratch is full (scratch->bad then). */
bool json_text(struct slice value, struct slice *out, struct wr *scratch);

/* A raw number that is a non-negative integer up to max, without fraction and exponent. Gives false
 * and leaves *out alone for anything else. */
bool json_u64(struct slice value, uint64_t max, uint64_t *out);

/* A raw true or false. Gives false and leaves *out alone for anything else. */
bool json_truth(struct slice value, bool *out);

/* Writes s as a JSON string, quotes included. Control characters, quote and backslash are escaped;
 * bytes that are not UTF-8 come out as U+FFFD, so that the result is always valid. */
void json_write_text(struct wr *w, struct slice s);

#endif
