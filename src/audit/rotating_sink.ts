import type { AuditSink } from "./audit_sink.ts";
import { streamSink } from "./stream_sink.ts";

/** How {@linkcode rotatingSink} writes files. */
export interface RotatingSinkOptions {
  /**
   * When a file is full, in bytes. The lines that pass the limit are still written to it, and a checkpoint: it ends up
   * to 128 KiB later.
   *
   * @default {67_108_864}
   */
  readonly maxFileBytes?: number;
  /** The index of the first file; one more than the last there is, where a log goes on. @default {0} */
  readonly firstIndex?: number;
}

/**
 * Writes a log to files, one after the other.
 *
 * Each file begins with where it stands in the log and ends with a checkpoint, so that files verify one by one and, put
 * together in their order, as the whole. Files are never deleted.
 *
 * @param open Opens the file of an index, counted up, for writing; it MUST fail where the file has content, and is asked
 *   again later when it fails.
 * @param options When a file is full.
 * @throws {RangeError} For an option out of range.
 */
export function rotatingSink(
  open: (index: number) => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>,
  options: RotatingSinkOptions = {},
): AuditSink {
  const { maxFileBytes = 67_108_864, firstIndex = 0 } = options;
  if (!(maxFileBytes > 0)) throw new RangeError('"maxFileBytes" must be more than 0');
  if (!Number.isSafeInteger(firstIndex) || firstIndex < 0) throw new RangeError('"firstIndex" must be an index from 0');
  let index = firstIndex;
  let bytes = 0;
  let file: AuditSink | undefined;
  return {
    async write(lines) {
      file ??= streamSink(await open(index));
      await file.write(lines);
      bytes += new TextEncoder().encode(lines).length;
    },
    isFull: () => bytes >= maxFileBytes,
    async rotate() {
      await file?.close?.();
      [file, bytes, index] = [undefined, 0, index + 1];
    },
    close: () => file?.close?.(),
  };
}
