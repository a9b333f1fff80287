import { beforeAll, describe, expect, it } from "vitest";

import { contentOf, decode, fromHalf } from "../src/decode";

function block(header: object, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const found = new Uint8Array(256 + body.length).fill(32, 0, 256);
  found.set(new TextEncoder().encode("CFP1"));
  new DataView(found.buffer).setUint32(4, 256 - 8, true);
  found.set(text, 8);
  found.set(body, 256);
  return found;
}

const BODY = new Uint8Array(new Float32Array([1.5, -2, 0, 7]).buffer);
const HEADER = { title: "é</script>", arrays: { given: { type: "float32", shape: [2, 2], offset: 0 } } };
let text = "";

beforeAll(async () => {
  const stream = new Blob([block(HEADER, BODY)]).stream().pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  text = btoa(String.fromCharCode(...bytes));
});

describe("decode", () => {
  it("gives back the header and the arrays", async () => {
    const { header, arrays } = await decode(text, text.length);
    expect(header.title).toBe("é</script>");
    expect([...arrays.given!]).toEqual([1.5, -2, 0, 7]);
  });

  it("says of a text that was cut off how much of it is there", async () => {
    await expect(decode(text.slice(0, 100), text.length)).rejects.toThrow(`100 of ${text.length}`);
  });

  it("refuses what cannot be decompressed, and what is of no page", async () => {
    const broken = `${text.slice(0, 60)}AAAA${text.slice(64)}`;
    await expect(decode(broken, broken.length)).rejects.toThrow("cannot be decompressed");
    expect(() => contentOf(new ArrayBuffer(16))).toThrow("of no page");
  });
});

it("reads numbers of 16 bits: normal, subnormal, infinite, and none", () => {
  const bits = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3555]);
  const found = fromHalf(bits);
  expect([...found.slice(0, 6)]).toEqual([1, -2, 2 ** -24, 65504, Infinity, -Infinity]);
  expect(found[6]).toBeNaN();
  expect(found[7]).toBeCloseTo(1 / 3, 3);
});
