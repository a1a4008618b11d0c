/**
 * The implementation under test: this package, or upstream when `OPSLOG_IMPL=upstream` (to check the tests themselves).
 *
 * Tests of deliberate differences fail on upstream; that is expected.
 */
import * as upstream from "@backloghq/opslog";

/** Whether the tests run against upstream 0.8.1 instead of this package. */
export const isUpstream = process.env.OPSLOG_IMPL === "upstream";

const implementation = isUpstream ? upstream : await import("../../index.js");

export const Store = implementation.Store;

/** Upstream 0.8.1: the oracle, the rival and the second reader. */
export const UpstreamStore = upstream.Store;
