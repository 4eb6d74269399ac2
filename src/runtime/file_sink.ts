import { readdir, unlink } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { type AuditSink, rotatingSink, type RotatingSinkOptions } from "../audit/mod.ts";
import { createOwnerOnly, syncFolder } from "./file_owner_only.ts";

/** How {@linkcode fileSink} writes files. */
export type FileSinkOptions = Pick<RotatingSinkOptions, "maxFileBytes">;

/**
 * Keeps an audit log in files that only this user can open: `<path>.000000`, `<path>.000001` and so on.
 *
 * Files are created, appended to, and never changed otherwise or deleted; in the order of their names they are the log. A
 * process begins a new file after the last there is, and two processes must not share a path. What was written is on the
 * disk (`fdatasync`) before it counts as stored: a crash of the machine loses no entry that `flush` waited for. A
 * write that fails ends the log, because how much of it is stored is not known.
 *
 * To be out of reach of whoever takes over the process, files have to go elsewhere, or to be made append-only by root
 * (`chattr +a`). On Windows the folder's access list has to keep others out, modes mean nothing there.
 *
 * Deno needs `--allow-read` and `--allow-write` for the folder and `--allow-sys=uid`.
 *
 * @example An audit log in files
 * ```ts ignore
 * import { auditLog } from "@postern/rpc/audit";
 * import { fileSink } from "@postern/rpc/deno";
 *
 * await using log = auditLog(await fileSink("audit/orders.log"), { signer: identity });
 * ```
 *
 * @param path Where the files are to be, without the number; the folder must be there.
 * @param options When a file is full.
 * @returns The sink.
 * @throws {RangeError} For an option out of range.
 * @throws {Error} The folder cannot be read.
 */
export async function fileSink(path: string, options: FileSinkOptions = {}): Promise<AuditSink> {
  const { maxFileBytes } = options;
  const firstIndex = await nextIndex(path);
  const size = maxFileBytes === undefined ? {} : { maxFileBytes };
  return rotatingSink((index) => create(`${path}.${String(index).padStart(DIGITS, "0")}`), { firstIndex, ...size });
}

async function nextIndex(path: string): Promise<number> {
  const prefix = `${basename(path)}.`;
  const names = (await readdir(dirname(path))).filter((name) => name.startsWith(prefix));
  const indexes = names.map((name) => name.slice(prefix.length)).filter((end) => /^\d{6,15}$/.test(end)).map(Number);
  return indexes.reduce((next, index) => Math.max(next, index + 1), 0);
}

async function create(path: string): Promise<WritableStream<Uint8Array>> {
  const file = await createOwnerOnly({ what: "audit file", path });
  try {
    await syncFolder(path);
  } catch (error) {
    await file.close();
    await unlink(path); // it is asked for again, and must not be there then
    throw error;
  }
  return new WritableStream({
    async write(bytes) {
      try {
        await file.appendFile(bytes);
        await file.datasync();
      } catch (error) {
        await file.close(); // a stream that failed is not closed
        throw error;
      }
    },
    close: () => file.close(),
  });
}

/** Enough for names to sort as the numbers do. */
const DIGITS = 6;
