"""JSON for one's own scripts: counts and weights, without rows."""

from __future__ import annotations

import json

from tvt.exports.plan import Export, Plan


class Plain(Export):
    """JSON for one's own scripts."""

    needs_model = False

    def render(self, plan: Plan) -> dict[str, str]:
        """One object: counts and weights by source, and where the rows are."""
        document = {
            "schema": 1,
            "verdict": plan.mixture.verdict,
            "model": plan.model.name or None,
            "total": plan.total,
            **({"max_pixels": plan.max_pixels} if plan.max_pixels else {}),
            **({"min_pixels": plan.min_pixels} if plan.min_pixels else {}),
            "sources": {
                part.source: {
                    "count": part.count,
                    "weight": plan.mixture.weights.get(part.source, 0.0),
                    "path": part.path,
                    "size": part.size,
                }
                for part in plan.parts
            },
        }
        return {"mixture.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"}
