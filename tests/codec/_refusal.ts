import { CodecError, type CodecErrorCode } from "../../src/codec/mod.ts";
import assert from "node:assert/strict";

/** Asserts that `action` throws a `CodecError` of this code whose message holds `found`. */
export function assertRefused(action: () => unknown, code: CodecErrorCode, found: string): void {
  assert.throws(action, (error: unknown) => {
    assert.ok(error instanceof CodecError, `expected a CodecError, got ${error}`);
    assert.deepEqual({ code: error.code, name: error.name }, { code, name: "CodecError" });
    assert.ok(error.message.includes(found), `expected "${found}" in "${error.message}"`);
    return true;
  });
}

/** The value, or `undefined` where a `CodecError` refused; any other error passes through. */
export function valueOrRefusal(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    if (error instanceof CodecError) return undefined;
    throw error;
  }
}
