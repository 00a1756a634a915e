/* The five functions of libb64 (libb64.so.0d) that perf_analyzer is linked to: base64 in blocks, standard alphabet.
 * Only so that it starts where the Debian package libb64-0d is not installed. The sizes of both states are libb64's. */

typedef struct { int step; char rest; int line; } encode_state;
typedef struct { int step; char rest; } decode_state;

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_init_encodestate(encode_state *state) { *state = (encode_state){0, 0, 0}; }
void base64_init_decodestate(decode_state *state) { *state = (decode_state){0, 0}; }

/* `step` bytes of a group of three have come; `rest` holds the bits of the last one that no character has yet. */
int base64_encode_block(const char *bytes, int count, char *out, encode_state *state) {
    char *end = out;
    for (int i = 0; i < count; i++) {
        int have = 2 * state->step, byte = (unsigned char)bytes[i];
        int bits = state->rest << 8 | byte;
        *end++ = ALPHABET[bits >> (have + 2) & 63];
        state->rest = (char)(bits & ((1 << (have + 2)) - 1));
        state->step++;
        if (state->step == 3) {
            *end++ = ALPHABET[(int)state->rest];
            state->step = state->rest = 0;
        }
    }
    return (int)(end - out);
}

int base64_encode_blockend(char *out, encode_state *state) {
    char *end = out;
    if (state->step > 0) {
        *end++ = ALPHABET[state->rest << (6 - 2 * state->step) & 63];
        for (int left = state->step; left < 3; left++) *end++ = '=';
    }
    base64_init_encodestate(state);
    return (int)(end - out);
}

/* What is not of the alphabet is passed over: line ends and padding. */
int base64_decode_block(const char *text, int length, char *out, decode_state *state) {
    char *end = out;
    for (int i = 0; i < length; i++) {
        int value = 0;
        while (value < 64 && ALPHABET[value] != text[i]) value++;
        if (value == 64) continue;
        int have = (8 - 2 * state->step) % 8, bits = (unsigned char)state->rest << 6 | value;
        if (have >= 2) *end++ = (char)(bits >> (have - 2));
        state->rest = (char)bits;
        state->step = (state->step + 1) % 4;
    }
    return (int)(end - out);
}
