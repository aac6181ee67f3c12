// Which addresses the driver never redirects: the first and the last of each prefix, and their neighbours outside.
#include "decide/address.h"

#include "check.h"

typedef struct row {
    uint8_t first[16], last[16];
    pm_address_kind kind;
} row;

static const row v4_rows[] = {
    {{0, 0, 0, 0}, {0, 255, 255, 255}, PM_ADDRESS_NOT_UNICAST},
    {{1, 0, 0, 0}, {9, 255, 255, 255}, PM_ADDRESS_PUBLIC},
    {{10, 0, 0, 0}, {10, 255, 255, 255}, PM_ADDRESS_PRIVATE},
    {{11, 0, 0, 0}, {100, 63, 255, 255}, PM_ADDRESS_PUBLIC},
    {{100, 64, 0, 0}, {100, 127, 255, 255}, PM_ADDRESS_PRIVATE},
    {{100, 128, 0, 0}, {126, 255, 255, 255}, PM_ADDRESS_PUBLIC},
    {{127, 0, 0, 0}, {127, 255, 255, 255}, PM_ADDRESS_LOOPBACK},
    {{128, 0, 0, 0}, {169, 253, 255, 255}, PM_ADDRESS_PUBLIC},
    {{169, 254, 0, 0}, {169, 254, 255, 255}, PM_ADDRESS_PRIVATE},
    {{169, 255, 0, 0}, {172, 15, 255, 255}, PM_ADDRESS_PUBLIC},
    {{172, 16, 0, 0}, {172, 31, 255, 255}, PM_ADDRESS_PRIVATE},
    {{172, 32, 0, 0}, {191, 255, 255, 255}, PM_ADDRESS_PUBLIC},
    {{192, 0, 0, 0}, {192, 0, 0, 255}, PM_ADDRESS_PRIVATE},
    {{192, 0, 1, 0}, {192, 167, 255, 255}, PM_ADDRESS_PUBLIC}, // with 192.0.2.0/24: documentation counts as public
    {{192, 168, 0, 0}, {192, 168, 255, 255}, PM_ADDRESS_PRIVATE},
    {{192, 169, 0, 0}, {198, 17, 255, 255}, PM_ADDRESS_PUBLIC},
    {{198, 18, 0, 0}, {198, 19, 255, 255}, PM_ADDRESS_PRIVATE},
    {{198, 20, 0, 0}, {223, 255, 255, 255}, PM_ADDRESS_PUBLIC}, // with 198.51.100.0/24 and 203.0.113.0/24
    {{224, 0, 0, 0}, {255, 255, 255, 255}, PM_ADDRESS_NOT_UNICAST},
};

TEST(every_row_of_the_v4_table_holds_from_its_first_to_its_last_address)
{
    for (size_t i = 0; i < sizeof(v4_rows) / sizeof(v4_rows[0]); i++) {
        CHECK_EQUAL(pm_address_kind_v4(v4_rows[i].first), v4_rows[i].kind);
        CHECK_EQUAL(pm_address_kind_v4(v4_rows[i].last), v4_rows[i].kind);
    }
}

TEST(the_v4_table_leaves_no_gap)
{
    for (size_t i = 1; i < sizeof(v4_rows) / sizeof(v4_rows[0]); i++) {
        uint32_t before = 0, after = 0;
        for (int j = 0; j < 4; j++) {
            before = before << 8 | v4_rows[i - 1].last[j];
            after = after << 8 | v4_rows[i].first[j];
        }
        CHECK_EQUAL(before + 1, after);
    }
}

static const row v6_rows[] = {
    {{0}, {0}, PM_ADDRESS_NOT_UNICAST},
    {{[15] = 1}, {[15] = 1}, PM_ADDRESS_LOOPBACK},
    {{[15] = 2}, {[15] = 255}, PM_ADDRESS_PUBLIC},
    {{1}, {1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}, PM_ADDRESS_NOT_UNICAST},
    {{1, 0, 0, 0, 0, 0, 0, 1}, {0xFB, 255}, PM_ADDRESS_PUBLIC},
    {{0x20, 0x01, 0x0D, 0xB8}, {0x20, 0x01, 0x0D, 0xB8, 255}, PM_ADDRESS_PUBLIC},
    {{0xFC}, {0xFD, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, PM_ADDRESS_PRIVATE},
    {{0xFE, 0x7F}, {0xFE, 0x7F, 255}, PM_ADDRESS_PUBLIC},
    {{0xFE, 0x80}, {0xFE, 0xBF, 255}, PM_ADDRESS_PRIVATE},
    {{0xFE, 0xC0}, {0xFE, 0xFF, 255}, PM_ADDRESS_PRIVATE},
    {{0xFF}, {0xFF, 0x0E, [15] = 1}, PM_ADDRESS_NOT_UNICAST},
    {{0x00, 0x64, 0xFF, 0x9B, [12] = 10}, {0x00, 0x64, 0xFF, 0x9B, [12] = 192, 168, 1, 1}, PM_ADDRESS_PRIVATE},
    {{0x00, 0x64, 0xFF, 0x9B, [12] = 8, 8, 8, 8}, {0x00, 0x64, 0xFF, 0x9B, [12] = 1, 1, 1, 1}, PM_ADDRESS_PUBLIC},
    {{[10] = 255, 255, 10, 0, 0, 1}, {[10] = 255, 255, 172, 31, 0, 1}, PM_ADDRESS_PRIVATE},
    {{[10] = 255, 255, 127, 0, 0, 1}, {[10] = 255, 255, 127, 9, 9, 9}, PM_ADDRESS_LOOPBACK},
    {{[10] = 255, 255, 8, 8, 8, 8}, {[10] = 255, 255, 203, 0, 113, 1}, PM_ADDRESS_PUBLIC},
};

TEST(every_row_of_the_v6_table_holds)
{
    for (size_t i = 0; i < sizeof(v6_rows) / sizeof(v6_rows[0]); i++) {
        CHECK_EQUAL(pm_address_kind_v6(v6_rows[i].first), v6_rows[i].kind);
        CHECK_EQUAL(pm_address_kind_v6(v6_rows[i].last), v6_rows[i].kind);
    }
}

TEST(mapping_and_unmapping_are_each_others_inverse)
{
    uint8_t v4[4] = {203, 0, 113, 7}, back[4] = {0}, v6[16];

    pm_address_map(v4, v6);
    CHECK(pm_address_unmap(v6, back));
    CHECK(memcmp(v4, back, 4) == 0);
    v6[10] = 0;
    CHECK(!pm_address_unmap(v6, back));
}
