"""A network, seen: tables, drawings, arithmetic. Views read trees and measures; they know no weights and no runs."""
