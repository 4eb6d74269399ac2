import { checkpointLine, headLine, type LogEnd } from "./_log_line.ts";
import type { AuditSink } from "./audit_sink.ts";
import { type CheckpointSigner, signCheckpoint } from "./checkpoint.ts";
import { appendLeaf, treeRoot } from "./merkle_tree.ts";

/** An entry that waits to be stored. */
export interface LogEntry {
  readonly line: string;
  readonly leaf: Uint8Array;
  /** How long the line is in bytes, with its newline. */
  readonly bytes: number;
}

/** Puts entries into a sink, with the lines between them; one call at a time. What rejects may be called again. */
export interface LogWriter {
  /** Stores entries. */
  append(entries: readonly LogEntry[]): Promise<void>;
  /** Signs and stores a checkpoint over all that was stored; gives the last one where nothing came since. */
  checkpoint(): Promise<string>;
}

/**
 * Makes the writer of a log.
 *
 * The tree grows here and not where events are recorded: so there is a root for exactly what is stored when a file is
 * full or a checkpoint is due, whatever else was recorded meanwhile.
 */
export function logWriter(sink: AuditSink, signer: CheckpointSigner, start: LogEnd): LogWriter {
  const { origin } = start;
  let { tree, last } = start;
  let signed: { readonly size: number; readonly note: string } | undefined;
  let beginsFile = true;

  async function write(lines: string): Promise<void> {
    await sink.write(beginsFile ? `${headLine({ origin, tree, last })}\n${lines}` : lines);
    beginsFile = false;
  }

  async function checkpoint(): Promise<string> {
    if (signed?.size === tree.size) return signed.note;
    const note = await signCheckpoint({ origin, size: tree.size, root: treeRoot(tree) }, signer);
    await write(checkpointLine(note, last) + "\n");
    signed = { size: tree.size, note };
    return note;
  }

  async function append(entries: readonly LogEntry[]): Promise<void> {
    if (!beginsFile && sink.isFull?.()) {
      await checkpoint();
      await sink.rotate?.();
      beginsFile = true;
    }
    await write(entries.map(({ line }) => line + "\n").join(""));
    for (const { leaf } of entries) [tree, last] = [appendLeaf(tree, leaf), leaf];
  }

  return { append, checkpoint };
}
